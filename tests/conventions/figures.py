"""What the conventions count over the whole of src/: FIGURES at the end is the table of counts, each with a limit that only falls.

Printed by check_conventions.py --figures; check_conventions.py fails where a count is over its limit.
"""
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable

import cpp_source

SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
MAX_PARAMETERS = 6
# Files whose functions are kernels, beside *.cu and *_kernel*: a kernel's arguments are the pointers and numbers of its inner loop, and a
# struct around them would only be taken apart again.
KERNELS = {"models/hunyuan_video/transformer_rotary.cpp": "rows of the rotary embedding's backward pass on the CPU: pointers into six arrays"}
# Files that read JSON which other programs define: there an array's meaning is its positions.
FOREIGN_JSON = {
    "models/text/bpe.cpp": "tokenizer.json writes a merge as [left, right]",
    "models/text/post_processor.cpp": "tokenizer.json writes a special token as [token, id]",
    "storage/safetensors.cpp": "the safetensors header writes data_offsets as [begin, end]",
}
JSON_TYPES = {"json", "Json", "ordered_json"}
# What stands for a run: its folder, its record, its lock.
RUN_TYPES = {"RunDirectory", "Layout", "RunLock"}
# What stays when the process turns to another run.
PROCESS_TYPES = {"Communicator", "SampleRanks", "Placement"}


@dataclass(frozen=True)
class Figure:
    what: str
    limit: int  # what the count may not pass; it falls with the count, down to the goal
    goal: int
    places: Callable  # (root) -> one line for each thing counted
    each_listed: bool = True


@dataclass(frozen=True)
class Source:
    name: str  # relative to src/
    text: str
    tokens: list
    functions: list
    classes: list


@lru_cache(maxsize=None)
def read(path, name, _changed):
    text = path.read_text(errors="replace")
    found = cpp_source.tokens(text)
    return Source(name, text, found, *cpp_source.declarations(found))


def sources(root):
    """Every C++ and CUDA file of src/."""
    paths = sorted(path for path in (root / "src").rglob("*") if path.suffix in SUFFIXES)
    return [read(path, path.relative_to(root / "src").as_posix(), path.stat().st_mtime_ns) for path in paths]


def files_that_name_a_backbone(root, room="models/hunyuan_video"):
    """Files outside the backbone's room that include its headers or write its namespace; comments and texts do not count."""
    namespace = room.split("/")[-1]
    include = re.compile(r'^\s*#\s*include\s*"' + re.escape(room) + "/", re.MULTILINE)
    places = []
    for source in sources(root):
        if source.name.startswith(room + "/"):
            continue
        match = include.search(source.text)
        lines = [source.text[:match.start()].count("\n") + 1] if match else []
        words = [token.text for token in source.tokens]
        for i, token in enumerate(source.tokens):
            if token.kind == "word" and token.text == namespace and (words[i + 1:i + 2] == ["::"] or words[max(i - 2, 0):i] == ["models", "::"]):
                lines.append(token.line)
        if lines:
            places.append(f"src/{source.name}:{lines[0]}: names the types of {room}/")
    return places


def command_lines(root):
    """One entry for each line of src/commands/, CMake's file aside."""
    return [f"src/{source.name}:{number}" for source in sources(root) if source.name.startswith("commands/")
            for number in range(1, len(source.text.splitlines()) + 1)]


def wide_functions(root):
    """Functions with more than six parameters: one entry for each, at its declaration in a header where there is one."""
    places = {}
    for source in sources(root):
        name = source.name
        if name.endswith((".cu", ".cuh")) or "_kernel" in name.split("/")[-1] or name in KERNELS:
            continue
        for function in source.functions:
            if function.parameters > MAX_PARAMETERS:
                key = (name.rsplit(".", 1)[0], function.name, function.parameters)
                if key not in places or name.endswith(".h"):
                    places[key] = f"src/{name}:{function.line}: {function.name} takes {function.parameters} parameters; at most {MAX_PARAMETERS}"
    return sorted(places.values())


def json_functions(found):
    """Names of the functions that the tokens declare with JSON as what they return."""
    return {b.text for a, b, c in zip(found, found[1:], found[2:]) if a.text in JSON_TYPES and b.kind == "word" and c.text == "("}


class JsonReader:
    """Follows the names that hold JSON through a file's tokens: a variable, a parameter, the variable of a loop over JSON, what json::parse or a
    function that returns JSON gives. A name counts as JSON until the block ends that declares it."""

    def __init__(self, found, members, functions):
        self.found, self.members, self.functions = found, members, functions | json_functions(found)
        self.scopes = [set()]      # the names of each open block
        self.coming = set()        # names of parameters and loops, whose block is still to come
        self.parentheses = [0]     # how many are open, in each open block

    def text(self, i):
        return self.found[i].text if 0 <= i < len(self.found) else ""

    def value_end(self, i):
        """The index behind the JSON value whose last name stands at `i`, or None where that is none."""
        name = self.text(i)
        if i >= len(self.found) or self.found[i].kind != "word":
            return None
        if self.text(i + 1) == "(":
            parse = name == "parse" and self.text(i - 1) == "::" and self.text(i - 2) in JSON_TYPES
            return cpp_source.closing(self.found, i + 1) + 1 if parse or name in self.functions else None
        if self.text(i - 1) in (".", "->"):
            return i + 1 if name in self.members else None
        return i + 1 if name in self.coming or any(name in names for names in self.scopes) else None

    def follow(self, i):
        """From the token behind a JSON value over its keys and calls of at() and value(): the index behind them, and whether a number was among them."""
        by_number = False
        while True:
            if self.text(i) == "[":
                first = i + 1
            elif self.text(i) == "." and self.text(i + 1) in ("at", "value") and self.text(i + 2) == "(":
                first = i + 3
            else:
                return i, by_number
            end = cpp_source.closing(self.found, first - 1)
            by_number = by_number or (end == first + 1 and self.found[first].kind == "number")
            i = end + 1

    def is_json(self, begin, end):
        """Whether the expression's value is JSON: its last part is."""
        ends = [self.value_end(i) for i in range(begin, end)]
        return any(at is not None and self.follow(at)[0] == end for at in ends)

    def behind_qualifiers(self, i):
        while self.text(i) in ("&", "*", "const", "&&"):
            i += 1
        return i

    def expression_end(self, i):
        """The index of the semicolon or the closing bracket that ends the expression at `i`."""
        while i < len(self.found) and self.text(i) not in (";", ")", "]", "}"):
            i = cpp_source.closing(self.found, i) + 1 if self.text(i) in cpp_source.CLOSING and self.found[i].kind == "sign" else i + 1
        return i

    def note(self, i):
        """Takes in what the token declares, opens or closes."""
        name = self.text(i)
        if self.found[i].kind == "text":
            return
        if name == "{":
            self.scopes.append(self.coming)
            self.parentheses.append(0)
            self.coming = set()
        elif name == "}" and len(self.scopes) > 1:
            self.scopes.pop()
            self.parentheses.pop()
        elif name in ("(", ")"):
            self.parentheses[-1] += 1 if name == "(" else -1
        elif name == ";" and self.parentheses[-1] <= 0:
            self.coming = set()
        elif name in JSON_TYPES and self.text(i + 1) != "::":
            self.declare(self.behind_qualifiers(i + 1))
        elif name == "auto":
            at = self.behind_qualifiers(i + 1)
            if self.text(at) == "[":  # for (const auto& [key, value] : object.items())
                end = cpp_source.closing(self.found, at)
                last = self.expression_end(end + 1)
                if self.text(end + 1) == ":" and [self.text(last - 3), self.text(last - 2)] == ["items", "("] and self.is_json(end + 2, last - 4):
                    self.coming.add(self.text(end - 1))
            elif self.text(at + 1) in ("=", ":") and self.is_json(at + 2, self.expression_end(at + 2)):
                self.declare(at)

    def declare(self, i):
        if i >= len(self.found) or self.found[i].kind != "word":
            return
        names = self.coming if self.parentheses[-1] > 0 else self.scopes[-1]
        if self.text(i + 1) in ("=", "{", ";", ",", ")", ":", "("):
            names.add(self.text(i))
        while self.parentheses[-1] <= 0 and self.text(i + 1) == "," and i + 2 < len(self.found) and self.found[i + 2].kind == "word":  # json a, b;
            i += 2
            names.add(self.text(i))

    def lines_by_position(self):
        lines = set()
        for i, token in enumerate(self.found):
            self.note(i)
            end = self.value_end(i) if token.kind == "word" else None
            if end is not None and self.follow(end)[1]:
                lines.add(token.line)
        return sorted(lines)


def json_by_position(root):
    """Lines that index JSON with a number. JSON that this program writes has keys: a reader sees what `row["seed"]` is, and not what row[2] is."""
    members, functions = set(), set()
    for source in sources(root):
        if source.name.endswith(".h"):
            functions |= json_functions(source.tokens)
            pairs = [pair for kind in source.classes for member in kind.members for pair in zip(member, member[1:])]
            members |= {b.text for a, b in pairs if a.text in JSON_TYPES and b.kind == "word"}
    return [f"src/{source.name}:{line}: reads a JSON array by position; give the value a key, or its type a name" for source in sources(root)
            if source.name not in FOREIGN_JSON for line in JsonReader(source.tokens, members, functions).lines_by_position()]


def runs_with_a_process(root):
    """Types that hold both a run and what a process holds: their own members name both, or the types that they own do, however deep. What is
    owned stands in a member without & and *; who only refers to a run and to a session can be handed either alone."""
    kinds = {(source.name, kind.name): kind for source in sources(root) for kind in source.classes}
    in_headers = {name: (file, name) for file, name in kinds if file.endswith(".h") and name != "Options"}  # the one name that several types share

    def words(kind, owned):
        members = [member for member in kind.members if not owned or not {"&", "*"} & {token.text for token in member}]
        return {token.text for member in members for token in member if token.kind == "word"}

    def held(key):
        found, seen, waiting = words(kinds[key], owned=False), {key}, [key]
        while waiting:
            current = waiting.pop()
            for word in words(kinds[current], owned=True):
                other = (current[0], word) if (current[0], word) in kinds else in_headers.get(word)
                if other is not None and other not in seen:
                    seen.add(other)
                    waiting.append(other)
                    found |= words(kinds[other], owned=False)
        return found

    places = []
    for key in sorted(kinds):
        found = held(key)
        if found & RUN_TYPES and found & PROCESS_TYPES:
            places.append(f"src/{key[0]}:{kinds[key].line}: {key[1]} holds both a run ({', '.join(sorted(found & RUN_TYPES))}) and what belongs to the "
                          f"process ({', '.join(sorted(found & PROCESS_TYPES))})")
    return places


FIGURES = [
    Figure("files outside models/hunyuan_video/ that name its types", 5, 5, files_that_name_a_backbone),
    Figure("lines of src/commands/", 1600, 1600, command_lines, each_listed=False),
    Figure("functions of more than six parameters, kernels aside", 0, 0, wide_functions),
    Figure("JSON arrays read by position", 0, 0, json_by_position),
    Figure("types that hold both a run and a process's resources", 0, 0, runs_with_a_process),
]


def off_limit(root, figures):
    """One line for each figure over its limit, with what it counts behind it, and for each whose limit was left standing above the count."""
    problems = []
    for figure in figures:
        places = figure.places(root)
        if len(places) > figure.limit:
            problems.append(f"src:1: {figure.what}: {len(places)}, and the limit is {figure.limit}" + (", of these:" if figure.each_listed else ""))
            problems += ["  " + place for place in places] if figure.each_listed else []
        elif figure.each_listed and len(places) < figure.limit and figure.limit > figure.goal:
            lower = max(len(places), figure.goal)
            problems.append(f"tests/conventions/figures.py:1: {figure.what}: {len(places)}, and the limit is {figure.limit}: lower it to {lower}, "
                            "so that what was won stays")
    return problems


def table(root, figures):
    """Every figure with its limit and its goal, and behind it what keeps it from its goal."""
    lines = [f"{'now':>6} {'limit':>6} {'goal':>6}  what"]
    for figure in figures:
        places = figure.places(root)
        lines.append(f"{len(places):>6} {figure.limit:>6} {figure.goal:>6}  {figure.what}")
        if figure.each_listed and len(places) > figure.goal:
            lines += [f"{'':>22}{place}" for place in places]
    return lines
