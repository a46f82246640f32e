#!/usr/bin/env python3
"""Checks the tree's conventions that no compiler sees. Python's standard library only.

Usage: check_conventions.py [ROOT]             exit code 1 and one line for each violation, file:line first
       check_conventions.py --figures [ROOT]   the figures that the checks count over the whole of src/, their limits and what stands in the way

What is checked, in the C++ and CUDA files of src/ unless said otherwise:
  rooms      every folder with a CMakeLists.txt stands in src/CMakeLists.txt's list; a room declares (ROOMS) only rooms above it in that list
  includes   #include "room/file.h" names a file that exists, in the file's own room or one that the room reaches through ROOMS
  ends       pretraining/ is included by its own verb alone
  libraries  MPI and NCCL headers only in comm/, HDF5 in storage/, yaml-cpp in config/, OpenCV and FFmpeg in media/, spdlog in base/log.cpp;
             no torch/torch.h, no ATen/ATen.h; no LibTorch in base/
  types      a type that a header declares at namespace scope has a name of its own in all of src/; SHARED_NAMES lists the exceptions
  length     at most 600 lines a file
  words      no marks of unfinished work (src/, launch/, slurm/, cmake/, tests/)
  paths      no path of one person's machine (all text files)
  documents  docs/architecture.md names every room as `room/`, if that file exists
  figures    each count of figures.py stays within its limit, and the limit falls with the count
"""
import argparse
import re
import sys
from pathlib import Path

import figures
from figures import SUFFIXES

MAX_LINES = 600

# What a header's name looks like, and the only place that may include it.
CONFINED = [
    ("MPI", re.compile(r"^(mpi|mpi-ext)\.h$"), "comm/"),
    ("NCCL", re.compile(r"^nccl[\w-]*\.h$"), "comm/"),
    ("HDF5", re.compile(r"^(hdf5|H5\w*)\.h$"), "storage/"),
    ("yaml-cpp", re.compile(r"^yaml-cpp/"), "config/"),
    ("OpenCV", re.compile(r"^opencv2/"), "media/"),
    ("FFmpeg", re.compile(r"^lib(av\w+|sw\w+)/"), "media/"),
    ("spdlog", re.compile(r"^spdlog/"), "base/log.cpp"),
]
# A type of a header that is not inside another one: such types stand at the line's beginning. Forward declarations have no brace.
TYPE = re.compile(r"^(?:template\s*<.*>\s*)?(?:struct|class|enum class|enum|union)\s+(\w+)(?:\s+final)?\s*(?::[^;]*)?\{")
# The one name that stands in several headers: each room has Options of its own.
SHARED_NAMES = {"Options"}
# Rooms that serve one file, and nothing else may come to need.
SERVES_ONE = {"pretraining": "commands/pretrain.cpp"}
LIBTORCH = re.compile(r"^(ATen|c10|torch)/")
TOO_WIDE = {"torch/torch.h", "torch/all.h", "torch/extension.h", "ATen/ATen.h"}
# Put together, so that this file does not hold the words it looks for.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}/])/(" + "home|Users|root|work|mnt|scratch" + r")/(?!somebody\b|user\b|you\b)[A-Za-z0-9_.]")
TEXT = {".h", ".cpp", ".cu", ".cuh", ".py", ".md", ".yaml", ".yml", ".cmake", ".json", ".txt", ".sh", ".sbatch", ".cpu", ".cuda", ".gpu", ".debian", ""}
SKIPPED_FOLDERS = {".git", ".deps", "build", "runs", "__pycache__", "data"}


def room_order(root):
    """The rooms of src/CMakeLists.txt, ground floor first."""
    text = (root / "src/CMakeLists.txt").read_text()
    match = re.search(r"foreach\(room\s+([^)]*)\)", text)
    if not match:
        raise SystemExit("src/CMakeLists.txt: no foreach(room ...) that lists the rooms")
    return match.group(1).split()


def declared_rooms(cmake_file):
    """The names after ROOMS in the file's magicid_room(...) or magicid_program(...) call."""
    text = re.sub(r"#.*", "", cmake_file.read_text())
    rooms = []
    for call in re.findall(r"magicid_(?:room|program)\(([^)]*)\)", text):
        reading = False
        for word in call.split():
            if word.isupper() or re.fullmatch(r"[A-Z_]+", word):
                reading = word == "ROOMS"
            elif reading:
                rooms.append(word)
    return rooms


def reachable(declared, room):
    seen, waiting = set(), [room]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += declared.get(current, [])
    return seen


def without_comments(line):
    return re.sub(r"//.*", "", line)


def room_of(path, rooms):
    """The longest room name that `path` (relative to src/) lies in, or None."""
    folder = path.parent.as_posix()
    return max((room for room in rooms if folder == room or folder.startswith(room + "/")), key=len, default=None)


def shared_type_names(source):
    """Of the types of headers: name -> the places after the first one."""
    first, again = {}, {}
    for path in sorted(source.rglob("*.h")):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = TYPE.match(line)
            if match:
                place = f"{path.relative_to(source.parent)}:{number}"
                if first.setdefault(match.group(1), place) != place:
                    again.setdefault(match.group(1), []).append(place)
    return first, again


def check(root, shared_names=frozenset(SHARED_NAMES), counted=()):
    problems = figures.off_limit(root, counted)
    rooms = room_order(root)
    source = root / "src"
    declared = {}
    for cmake_file in sorted(source.rglob("CMakeLists.txt")):
        room = cmake_file.parent.relative_to(source).as_posix()
        where = cmake_file.relative_to(root)
        if room == ".":
            continue
        if room not in rooms:
            problems.append(f"{where}:1: the room {room} does not stand in src/CMakeLists.txt")
            continue
        declared[room] = declared_rooms(cmake_file)
        for below in declared[room]:
            if below not in rooms:
                problems.append(f"{where}:1: {room} links an unknown room, {below}")
            elif rooms.index(below) >= rooms.index(room):
                problems.append(f"{where}:1: {room} links {below}, which does not lie below it")

    for path in sorted(p for p in source.rglob("*") if p.suffix in SUFFIXES):
        inside = path.relative_to(source)
        where = path.relative_to(root)
        room = room_of(inside, rooms)
        lines = path.read_text(errors="replace").splitlines()
        if room is None:
            problems.append(f"{where}:1: lies in no room of src/CMakeLists.txt")
            continue
        if len(lines) > MAX_LINES:
            problems.append(f"{where}:{len(lines)}: {len(lines)} lines; at most {MAX_LINES}")
        allowed = reachable(declared, room)
        for number, line in enumerate(lines, 1):
            match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not match:
                continue
            quote, name = match.groups()
            if quote == '"':
                target = room_of(Path(name), rooms)
                if target is None or not (source / name).is_file():
                    problems.append(f'{where}:{number}: "{name}" is no file of src/; write "room/file.h"')
                elif target != room and inside.as_posix() != SERVES_ONE.get(target, inside.as_posix()):
                    problems.append(f"{where}:{number}: {name} is there for src/{SERVES_ONE[target]} alone; what others need belongs into a room below")
                elif target not in allowed:
                    problems.append(f"{where}:{number}: {room} includes {name}, but {target} is not among the rooms it declares")
                continue
            for library, pattern, place in CONFINED:
                if pattern.match(name) and not (inside.as_posix() == place or place.endswith("/") and inside.as_posix().startswith(place)):
                    problems.append(f"{where}:{number}: {library} only in src/{place}")
            if name in TOO_WIDE:
                problems.append(f"{where}:{number}: {name} costs many seconds a file; include what is used (ATen/core/Tensor.h, ATen/ops/...)")
            if LIBTORCH.match(name) and room == "base":
                problems.append(f"{where}:{number}: base/ knows no LibTorch")

    first, again = shared_type_names(source)
    for name, places in again.items():
        if name not in shared_names:
            problems += [f"{place}: {name} is also the name of a type at {first[name]}; a reader must know which is meant: choose another" for place in places]
    for name in sorted(shared_names - set(again)):
        problems.append(f"tests/conventions/check_conventions.py:1: SHARED_NAMES lists {name}, which is the name of one type or none: take it out")

    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if SKIPPED_FOLDERS & set(inside.parts) or path.suffix not in TEXT or path.is_symlink() or not path.is_file():
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if inside.parts[0] in ("src", "launch", "slurm", "cmake", "tests") and UNFINISHED.search(line):
                problems.append(f"{inside}:{number}: a mark of unfinished work")
            match = MACHINE_PATH.search(line)
            if match:
                problems.append(f"{inside}:{number}: a path of one machine: {line[match.start():match.start() + 40].strip()}")

    tour = root / "docs/architecture.md"
    if tour.exists():
        text = tour.read_text()
        for room in sorted({name for room in rooms for name in (room, room.split("/")[0])}):
            if (source / room / "CMakeLists.txt").exists() or any((source / room).glob("*/CMakeLists.txt")):
                if f"`{room}/`" not in text and f"`{room.split('/')[-1]}/`" not in text:
                    problems.append(f"docs/architecture.md:1: does not name the room `{room}/`")
    return problems


def main():
    parser = argparse.ArgumentParser(description="Checks the tree's conventions that no compiler sees.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--figures", action="store_true", help="print the figures with their limits, and check nothing")
    arguments = parser.parse_args()
    if arguments.figures:
        print("\n".join(figures.table(arguments.root, figures.FIGURES)))
        return 0
    problems = check(arguments.root, counted=figures.FIGURES)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} violations of the conventions" if problems else "conventions: all kept")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
