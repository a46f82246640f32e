#!/usr/bin/env python3
"""The program against the goldens of tests/data/golden: candidates, scores, pairs, fingerprints, parameters and adapter files come out as they did.
Standard library only.

Usage: golden_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
Where results are meant to change: tests/reference/make_golden.py makes the goldens anew.
"""
import copy
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

import golden_runs
from launcher import Launcher

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-golden-"))
LAUNCHER = Launcher(PROGRAM, PROJECT, limit=300)


def golden(case):
    return json.loads((PROJECT / "tests/data/golden" / f"{case}.json").read_text())


def setUpModule():
    LAUNCHER.run(["init-model", "--size", "tiny", "--seed", "1", FOLDER / "model"], **golden_runs.PINNED)


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


class Runs(unittest.TestCase):
    maxDiff = None

    def check(self, case):
        expected, here = golden(case), golden_runs.surroundings(PROJECT)
        found = golden_runs.make(LAUNCHER, case, FOLDER, FOLDER / "model")
        errors, notes = golden_runs.differences(case, expected["record"], found, here == expected["made_on"])
        for note in notes:
            print(f"{note}, as may be: made on {expected['made_on']}, run on {here}", flush=True)
        self.assertFalse(errors, "\n" + "\n".join(errors) + "\nIf this is meant: tests/reference/make_golden.py")


for name in golden_runs.CASES:
    setattr(Runs, f"test_{name}", lambda self, case=name: self.check(case))


class Comparison(unittest.TestCase):
    """That the comparison sees what it is there for."""

    def differences(self, change, same_surroundings):
        case = "prior_video"
        expected = golden(case)["record"]
        found = copy.deepcopy(expected)
        change(found)
        errors, notes = golden_runs.differences(case, expected, found, same_surroundings)
        return len(errors), len(notes)

    def test_equal_records(self):
        for same in (True, False):
            self.assertEqual(self.differences(lambda found: None, same), (0, 0))

    def test_bytes_count_where_the_goldens_were_made_and_are_told_elsewhere(self):
        def change(found):
            found["bytes"]["optimize/result"] = "0" * 32

        self.assertEqual(self.differences(change, True), (1, 0))
        self.assertEqual(self.differences(change, False), (0, 1))

    def test_pairs_numbers_and_keys_count_everywhere(self):
        def exchanged(found):
            pair = found["exact"]["pairs"][0]
            pair[1], pair[2] = pair[2], pair[1]

        def moved(by):
            def change(found):
                found["numbers"]["optimize/lora_B"][2] += by * found["numbers"]["optimize/lora_B"][0]
            return change

        def another_key(found):
            found["keys"]["latents/1/key"] = "0" * 32

        def missing(found):
            del found["bytes"]["latents/1"]

        for same in (True, False):
            self.assertEqual(self.differences(exchanged, same), (1, 0))
            self.assertEqual(self.differences(moved(2e-4), same), (1, 0))
            self.assertEqual(self.differences(moved(5e-5), same), (0, 0))
            self.assertEqual(self.differences(another_key, same), (1, 0))
            self.assertEqual(self.differences(missing, same), (1, 0))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
