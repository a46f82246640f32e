#!/usr/bin/env python3
"""README.md and docs/ against the program: links, paths, keys and variables exist, and the commands that they show work.

    documents_test.py PROJECT PROGRAM

Command lines of ```sh blocks really run, in the order of the documents, in a temporary copy of configs/, datasets/ and launch/, with a shortened
training. What cannot run here carries a comment:

    # on a cluster, # needs ...    needs a cluster, a GPU, the full model or other things that are not here: verbs, options, files and presets
                          are checked instead
    # exit code N         fails on purpose: the exit code is checked, and the ```text block that follows must stand in its output ("..." is any text)

launch/quickstart and launch/test are tests of their own; here their options are compared with their --help.
"""
import functools
import json
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else ROOT / "build/cpu/bin/magicid"

# Documents whose commands share a folder, in the order in which a reader would follow them.
FOLDERS = [["README.md", "docs/getting-started.md", "docs/files.md", "docs/troubleshooting.md", "docs/cluster.md"], ["docs/comparing.md"], ["docs/architecture.md", "docs/miniature.md", "docs/study.md", "docs/performance.md"]]
STAGES = {"run", "prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate", "export", "report"}
# The commands stay those of the documents; only the work behind them is made short.
SHORT = ["video.height=32", "video.width=48", "video.frames=5", "reconstruct.steps=2", "generate.steps=1", "generate.initial_per_prompt=1", "generate.tuned_per_prompt=2",
         "rewards.flow_updates=1", "rewards.flow_rate=4", "rewards.face_frames=2", "optimize.pairs_seen=4", "optimize.checkpoint_every=1"]
PLACEHOLDER = re.compile(r"[A-Z]{3,}|\*|\.\.\.|<|\$")
PROJECT_FOLDERS = {"src", "docs", "launch", "slurm", "configs", "datasets", "tests", "cmake", "bench"}


def documents():
    found = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return found + [p for p in sorted(ROOT.glob("*/**/README.md")) if not {"build", ".deps", "runs", ".git"} & set(p.relative_to(ROOT).parts)]


def without_fences(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)


def fences(text):
    """(language, lines, whether nothing stands between it and the block before) of each fenced block, the fence's indentation removed."""
    end = 0
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^ *```", text, flags=re.M | re.S):
        yield match[2], [line[len(match[1]):] for line in match[3].splitlines()], not text[end:match.start()].strip()
        end = match.end()


def slug(heading):
    """The anchor that Git hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).strip().lower()).replace(" ", "-")


def anchors(path):
    return {slug(heading) for heading in re.findall(r"^#+ +(.*)$", without_fences(path.read_text()), flags=re.M)}


class Commands:
    """(document, line, mark, the text block behind it) of all ```sh blocks of one document."""

    def __init__(self, name):
        self.entries = []
        blocks = list(fences((ROOT / name).read_text()))
        for (language, lines, _), (next_language, next_lines, joined) in zip(blocks, [*blocks[1:], ("", [], False)]):
            if language != "sh":
                continue
            text = "\n".join(next_lines) if next_language == "text" and joined else ""
            lines = [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
            for number, line in enumerate(lines):
                command, _, comment = line.partition("    #") if "    #" in line else (line.partition(" # ") if " # " in line else (line, "", ""))
                self.entries.append((name, command.strip(), comment.strip(), text if number == len(lines) - 1 else ""))


def commands(names):
    return [entry for name in names for entry in Commands(name).entries]


def words_of_magicid(command):
    """The words after `magicid`, also behind launch/mpirun, or None."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    for index, word in enumerate(words):
        # Behind an option or a script it is an argument: the program that another tool shall run.
        argument = index > 0 and (words[index - 1] == "--program" or words[0] == "python3" or words[0].startswith("bench/"))
        if not argument and (word == "magicid" or word.endswith("/bin/magicid")):
            return words[index + 1:]
    return None


def run(words, folder, **more):
    return subprocess.run(words, cwd=folder, text=True, capture_output=True, timeout=280, **more)


@functools.cache
def help_of(*words):
    """What the command answers to --help; several documents name the same."""
    return run([*words, "--help"], ROOT)


def write_safetensors(path, shapes):
    header, data, numbers = {}, b"", random.Random(0)
    for name, (shape, value) in shapes.items():
        count = 1
        for size in shape:
            count *= size
        values = [value if value is not None else numbers.uniform(-1, 1) for _ in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
        data += struct.pack(f"<{count}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Documents(unittest.TestCase):
    maxDiff = None

    def test_every_document_of_the_commands_is_known(self):
        known = {name for names in FOLDERS for name in names}
        for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            name = path.relative_to(ROOT).as_posix()
            if any(language == "sh" for language, _, _ in fences(path.read_text())):
                self.assertIn(name, known, f"{name} shows commands: add it to FOLDERS")
        self.assertGreater(len(commands(known)), 20)

    def test_links_lead_somewhere(self):
        for path in documents():
            for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(path.read_text())):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, anchor = target.partition("#")
                with self.subTest(document=path.name, link=target):
                    there = (path.parent / file).resolve() if file else path
                    self.assertTrue(there.exists(), f"{path.relative_to(ROOT)} links to {target}")
                    if anchor:
                        self.assertIn(anchor, anchors(there))

    def test_named_paths_exist(self):
        checked = 0
        for path in documents():
            for name in re.findall(r"`([^`\s]+)`", without_fences(path.read_text())):
                if name.split("/")[0] not in PROJECT_FOLDERS or "/" not in name or PLACEHOLDER.search(name):
                    continue
                with self.subTest(document=path.name, path=name):
                    self.assertTrue((ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}")
                    checked += 1
        self.assertGreater(checked, 10)

    def test_rooms_stand_in_the_tour(self):
        tour = (ROOT / "docs/architecture.md").read_text()
        for cmake in (ROOT / "src").rglob("CMakeLists.txt"):
            room = cmake.parent.relative_to(ROOT / "src").as_posix()
            if room != ".":
                self.assertIn(f"`{room}/`", tour)
        for room in re.findall(r"^\| `([\w/]+)/` \|", tour, flags=re.M):
            if room.split("/")[0] != "tests":
                self.assertTrue((ROOT / "src" / room).is_dir(), f"docs/architecture.md names the room {room}/, which is not there")

    def test_no_path_of_a_machine(self):
        for path in documents():
            found = re.findall(r"(?<![\w.$}/])/(?:home|Users|root|work|tmp|mnt|scratch|opt)/[\w.]+", path.read_text())
            self.assertEqual(found, [], path)

    def test_named_tests_exist(self):
        """Every test of README's table, and every NAME_test in the documents."""
        known = set()
        for lists in (ROOT / "tests").rglob("CMakeLists.txt"):
            known |= set(re.findall(r"(?:magicid_\w*test\(|add_test\(NAME )\s*(\w+)", lists.read_text()))
        self.assertIn("pipeline", known)
        table = re.search(r"^\| what \| shown \| test \|\n(.*?)\n\n", (ROOT / "README.md").read_text(), flags=re.M | re.S)[1].splitlines()[1:]
        self.assertGreater(len(table), 20)
        for row in table:
            names = re.findall(r"`(\w+)`", row.rsplit("|", 2)[1])
            self.assertTrue(names, row)
            for name in names:
                self.assertIn(name, known, f"README.md: {row}")
        for document in documents():
            for name in re.findall(r"`(\w+_test)`", document.read_text()):
                self.assertIn(name, known, document)

    def test_variables_are_read_somewhere(self):
        read = "".join(p.read_text(errors="replace") for folder in ("src", "launch", "slurm", "cmake") for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".md")
        read += (ROOT / "CMakeLists.txt").read_text()
        read += "".join(p.read_text() for p in (ROOT / "tests/end_to_end").glob("*.py"))
        read += "".join(p.read_text() for p in (ROOT / "tests/unit").rglob("*.cpp"))
        for path in documents():
            for name in set(re.findall(r"\bMAGICID_\w+", path.read_text())):
                self.assertIn(name, read, f"{path.relative_to(ROOT)} names the variable {name}")

    def test_configuration_is_what_the_program_prints(self):
        printed = run([PROGRAM, "reference"], ROOT)
        self.assertEqual(printed.returncode, 0, printed.stderr)
        self.assertEqual((ROOT / "docs/configuration.md").read_text(), printed.stdout, "print it again: magicid reference > docs/configuration.md")

    def test_keys_exist(self):
        sections, keys, section = set(), set(), ""
        for line in (ROOT / "docs/configuration.md").read_text().splitlines():
            if heading := re.match(r"## `([\w.]+)`", line):
                section = heading[1] + "."
                sections.add(heading[1])
            elif row := re.match(r"\| `(\w+)` \|", line):
                keys.add(section + row[1])
        self.assertGreater(len(keys), 60)
        checked = 0
        for path in documents():
            for name in re.findall(r"`([a-z]\w*(?:\.\w+)+)(?:=[^`]*)?`", without_fences(path.read_text())):
                if name.split(".")[0] in sections and not name.endswith((".h5", ".json", ".safetensors", ".cpp", ".md")):
                    self.assertTrue(name in keys or name in sections, f"{path.relative_to(ROOT)} names the key {name}")
                    checked += 1
        self.assertGreater(checked, 20)

    def check_options(self, name, command):
        """A line that is not run: what it names must exist."""
        words = words_of_magicid(command)
        if words is not None:
            verbs = []
            while words and not words[0].startswith("-") and (not verbs or verbs == ["probe"]):
                verbs.append(words.pop(0))
            text = help_of(PROGRAM, *verbs)
            self.assertEqual(text.returncode, 0, f"{name}: {command}: {text.stderr}")
            for option in (word.split("=")[0] for word in words if word.startswith("--")):
                self.assertRegex(text.stdout, re.escape(option) + r"\b", f"{name}: {command}")
            return
        words = shlex.split(command, comments=True)
        for word in words:
            if word.split("/")[0] in ("launch", "slurm", "bench") and not PLACEHOLDER.search(word):
                self.assertTrue((ROOT / word).exists(), f"{name}: {command}: {word} is not there")
        if words[0].startswith("launch/") and words[0] != "launch/mpirun":
            text = help_of(ROOT / words[0])
            self.assertEqual(text.returncode, 0, command)
            for option in (word for word in words[1:] if word.startswith("--")):
                self.assertIn(option, text.stdout, f"{name}: {command}")
        if words[0] == "cmake":
            presets = {p["name"] for p in json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]}
            self.assertIn(words[words.index("--preset") + 1], presets, command)
        if words[0] == "sbatch":
            self.assertTrue((ROOT / "slurm/magicid.sbatch").exists())

    def check_run(self, name, command, comment, text, folder):
        words = words_of_magicid(command)
        if words and words[0] in STAGES:
            # In front, so that what the document sets wins.
            command = re.sub(rf"(magicid {words[0]})\b", lambda m: m[1] + "".join(f" --set {setting}" for setting in SHORT), command, count=1)
        environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        result = run(["bash", "-c", command], folder, env=environment)
        expected = int(comment.split()[-1]) if comment.startswith("exit code") else 0
        self.assertEqual(result.returncode, expected, f"{name}: {command}\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
        if text:
            # Times and levels before a message are not compared, nor how its lines are broken.
            output = " ".join(re.sub(r"^\d\d:\d\d:\d\d ", "", result.stdout + result.stderr, flags=re.M).split()).replace(str(folder.resolve()) + "/", "").replace(str(folder) + "/", "")
            wanted = [" ".join(part.split()) for part in text.split("...")]
            self.assertRegex(output, ".*?".join(re.escape(part) for part in wanted), f"{name}: {command}")

    def check_folder(self, names):
        entries = commands(names)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place).resolve()
            for part in ("configs", "datasets", "launch", "slurm"):
                shutil.copytree(ROOT / part, folder / part)
            (folder / "docs").mkdir()
            # What the Python blocks of docs/comparing.md write.
            write_safetensors(folder / "faces.safetensors", {"input": ([2, 3, 112, 112], None)})
            write_safetensors(folder / "transformer.safetensors", {
                "hidden_states": ([1, 8, 2, 4, 6], None), "timestep": ([1], 500.0), "encoder_hidden_states": ([1, 7, 64], None),
                "encoder_attention_mask": ([1, 7], 1.0), "pooled_projections": ([1, 48], None), "guidance": ([1], 6000.0)})
            for name, command, comment, text in entries:
                with self.subTest(document=name, command=command):
                    first = command.split()[0]
                    if comment.startswith(("on a cluster", "needs ")) or first in ("launch/quickstart", "launch/test", "launch/bootstrap", "cmake", "sbatch"):
                        self.check_options(name, command)
                    elif first != "export":
                        self.check_run(name, command, comment, text, folder)

    def test_commands_of_the_main_job(self):
        self.check_folder(FOLDERS[0])

    def test_commands_of_the_comparison(self):
        self.check_folder(FOLDERS[1])

    def test_commands_of_the_tour(self):
        self.check_folder(FOLDERS[2])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
