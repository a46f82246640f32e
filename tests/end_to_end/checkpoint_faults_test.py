#!/usr/bin/env python3
"""Preference training whose process dies at each write, flush and rename of its checkpoints in turn, and goes on. Standard library only.

Usage: checkpoint_faults_test.py MAGICID_PROGRAM PROJECT_FOLDER STOP_AT_WRITE_LIBRARY [unittest arguments]
A spread of the calls is tried; all of them, before, after and in the middle of each: MAGICID_EVERY_WRITE=1
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

from launcher import Launcher, flags

PROGRAM, PROJECT, LIBRARY = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-faults-"))
LIMIT = float(os.environ.get("MAGICID_TEST_LIMIT", "120"))  # seconds: what hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)
STEPS = 4
SETTINGS = {"output": None, "prompts": FOLDER / "prompts.txt", "model.folder": FOLDER / "model", "video.height": 32, "video.width": 48, "video.frames": 5, "rewards.flow_updates": 1,
            "rewards.flow_rate": 4, "rewards.face_frames": 2, "generate.steps": 1,
            "reconstruct.steps": 2, "reconstruct.global_batch": 2, "optimize.pairs_seen": 2 * STEPS, "optimize.global_batch": 2, "optimize.keep_checkpoints_every": 3}
WRITES = ("write", "pwrite", "writev", "pwritev")


def words(verb, name, every=1):
    return [verb, PROJECT / "configs/tiny.yaml", *flags({**SETTINGS, "output": FOLDER / name, "optimize.checkpoint_every": every})]


def finish(verb, name, ranks=0, every=1):
    return LAUNCHER.run(words(verb, name, every), ranks)


def faulty(name, ranks=0, every=1, **settings):
    """optimize with the library; returns exit code, output, and the counted calls as (name of the call, path or paths)."""
    log = FOLDER / f"{name}.calls"
    log.unlink(missing_ok=True)
    environment = {f"MAGICID_STOP_{key}": str(value) for key, value in settings.items()}
    environment["MAGICID_STOP_PATHS"] = "*/optimize/.checkpoint-*:*/optimize/checkpoint-*:*/optimize/.keep-*:*/optimize/keep-*:*/optimize"
    code, text = LAUNCHER.outcome(words("optimize", name, every), ranks, LD_PRELOAD=str(LIBRARY), MAGICID_STOP_LOG=str(log), **environment)
    calls = [line.split("\t")[1:] for line in log.read_text().splitlines()] if log.exists() else []
    return code, text, calls


def metrics(name):
    path = FOLDER / name / "optimize/metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def figures(name):
    """Without those that time gives."""
    return [{key: value for key, value in line.items() if not re.search("second|mfu", key)} for line in metrics(name)]


def files(name):
    return {path.name: path.read_bytes() for path in (FOLDER / name / "optimize").glob("*.h5")}


def finished(calls):
    """Steps whose checkpoint has its name after these calls."""
    return [int(m.group(1)) for call in calls if call[0] == "rename" for m in [re.search(r"/checkpoint-(\d+)\.h5$", call[-1])] if m]


def resumed(text):
    found = re.search(r"optimize: goes on after step (\d+) of", text)
    return int(found.group(1)) if found else 0


def setUpModule():
    unittest.addModuleCleanup(shutil.rmtree, FOLDER, ignore_errors=True)
    (FOLDER / "prompts.txt").write_text("a {subject} walks\na {subject} waves\n")
    LAUNCHER.run(["init-model", "--size", "tiny", "--seed", "1", FOLDER / "model"])
    for verb in ("prepare", "reconstruct", "generate", "score", "select"):
        finish(verb, "upstream")


class Faults(unittest.TestCase):
    unbroken = {}  # by (ranks, every): files, figures, calls

    def expected(self, ranks, every):
        if (ranks, every) not in self.unbroken:
            name = f"unbroken-{ranks}-{every}"
            shutil.copytree(FOLDER / "upstream", FOLDER / name)
            code, text, calls = faulty(name, ranks, every)
            self.assertEqual(code, 0, text)
            self.assertEqual([line["step"] for line in metrics(name)], list(range(1, STEPS + 1)))
            self.assertEqual(sorted(files(name)), ["checkpoint-000003.h5", "checkpoint-000004.h5", "keep-000003.h5"] if every == 1 else sorted(files(name)))
            for kind in ("pwrite", "fsync", "rename", "link", "remove"):
                self.assertIn(kind, {call[0] for call in calls}, "the library sees too little")
            self.unbroken[ranks, every] = files(name), figures(name), calls
        return self.unbroken[ranks, every]

    def goes_on(self, name, ranks, every, calls, what):
        """Starts `name` again without a fault. `calls`: what was done before it stopped. Returns the number of steps lost."""
        wanted, wanted_figures, _ = self.expected(ranks, every)
        made = len(metrics(name))
        text = finish("optimize", name, ranks, every)
        step, durable = resumed(text), max(finished(calls), default=0)
        self.assertGreaterEqual(step, durable, f"{what}: a finished checkpoint was not used\n{text}")
        self.assertLessEqual(made - step, every, f"{what}: {made} steps were made, {step} were left\n{text}")
        self.assertEqual(figures(name), wanted_figures, what)
        found = files(name)
        self.assertEqual(sorted(found), sorted(wanted), what)
        for file, data in wanted.items():
            self.assertTrue(found[file] == data, f"{what}: {file} differs from that of an unbroken run")
        leftovers = [path.name for path in (FOLDER / name / "optimize").iterdir() if path.name.endswith(".tmp") or ".damaged" in path.name]
        self.assertEqual(leftovers, [], what)
        return made - step

    def stop(self, number, how, ranks=0, every=1):
        _, _, calls = self.expected(ranks, every)
        what = f"stopped {how} call {number} of {len(calls)}, {' '.join(calls[number - 1])}, {ranks} ranks, checkpoint_every {every}"
        name = f"stopped-{number}-{how}-{ranks}-{every}"
        shutil.copytree(FOLDER / "upstream", FOLDER / name)
        code, text, done = faulty(name, ranks, every, AT=number, HOW=how)
        self.assertNotEqual(code, 0, f"{what}: went on\n{text}")
        self.assertEqual(len(done), number, f"{what}: another run\n{text}")
        lost = self.goes_on(name, ranks, every, done if how == "after" else done[:-1], what)
        shutil.rmtree(FOLDER / name)
        return lost

    def test_stopped_at_each_call_it_goes_on_and_ends_with_the_same_bytes(self):
        _, _, calls = self.expected(0, 1)
        stops = []
        for number, call in enumerate(calls, 1):
            stops.append((number, "before"))
            if call[0] in WRITES:
                stops.append((number, "torn"))
            elif call[0] in ("rename", "link", "remove") or number == len(calls):
                stops.append((number, "after"))
        tried = stops
        if not os.environ.get("MAGICID_EVERY_WRITE"):
            # One of each kind on the way of the checkpoint that is also kept, a spread over all, and the end of the last write, after which only deleting is left.
            kinds = {"end": max(stop for stop in stops if calls[stop[0] - 1][0] == "rename" and stop[1] == "after")}
            for number, how in stops:
                if any("000003" in word for word in calls[number - 1]) or calls[number - 1][0] == "fsync":
                    kinds.setdefault((calls[number - 1][0], how), (number, how))
            tried = sorted(set(kinds.values()) | {stops[i * (len(stops) - 1) // 9] for i in range(10)})
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            lost = list(pool.map(lambda stop: self.stop(*stop), tried))
        print(f"\n{len(tried)} of {len(stops)} stops at {len(calls)} calls: each went on; steps lost: at most {max(lost)}", flush=True)

    def test_stopped_while_the_run_directory_is_made_it_can_be_made(self):
        def made(name, **settings):
            environment = {f"MAGICID_STOP_{key}": str(value) for key, value in settings.items()}
            log = FOLDER / f"{name}.calls"
            code, text = LAUNCHER.outcome(words("export", name), LD_PRELOAD=str(LIBRARY), MAGICID_STOP_LOG=str(log), MAGICID_STOP_PATHS=f"*/{name}/*:*/{name}", **environment)
            return code, text, log.read_text().splitlines() if log.exists() else []

        code, text, calls = made("new")
        self.assertEqual(code, 2, text)
        self.assertIn("has not finished yet", text)  # the directory is there, nothing is in it to export
        self.assertTrue((FOLDER / "new/config.yaml").exists())
        self.assertGreaterEqual(sum("\trename\t" in call or "\tlink\t" in call for call in calls), 2, calls)
        for number in range(1, len(calls) + 1):
            for how in ("before", "after"):
                name = f"new-{number}-{how}"
                code, text, _ = made(name, AT=number, HOW=how)
                self.assertNotIn(code, (0, 2), f"{how} {calls[number - 1]}: went on\n{text}")
                code, text = LAUNCHER.outcome(words("export", name))
                self.assertIn("has not finished yet", text, f"{how} {calls[number - 1]}")
                self.assertEqual((FOLDER / name / "config.yaml").exists(), True, f"{how} {calls[number - 1]}")
                shutil.rmtree(FOLDER / name)

    def test_on_two_ranks_and_with_longer_intervals(self):
        for ranks, every in ((2, 1), (0, 2)):
            _, _, calls = self.expected(ranks, every)
            renames = [number for number, call in enumerate(calls, 1) if call[0] == "rename"]
            for number, how in ((renames[1] - 3, "torn"), (renames[-1], "before")):
                self.stop(number, how, ranks, every)

    def test_a_full_disk_ends_every_rank_with_the_reason_and_can_be_gone_on_from(self):
        for ranks in (0, 2):
            _, _, calls = self.expected(ranks, 1)
            second = next(number for number, call in enumerate(calls, 1) if "checkpoint-000002" in call[1])
            name = f"full-{ranks}"
            shutil.copytree(FOLDER / "upstream", FOLDER / name)
            code, text, _ = faulty(name, ranks, 1, AT=second + 4, HOW="full")
            self.assertEqual(code, 3, text)
            self.assertRegex(text, r"checkpoint-000002\.h5.*No space left on device.*Free some space")
            self.assertEqual(len(metrics(name)), 2, "a step was made after the failed write")
            self.assertEqual(list(files(name)), ["checkpoint-000001.h5"])
            self.assertLessEqual(self.goes_on(name, ranks, 1, calls[:second], "full disk"), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
