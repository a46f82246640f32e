#!/usr/bin/env python3
"""launch/study with few prompts and steps: arms beside each other, tables, a page that it renews, and nothing done twice. Standard library only.

Usage: study_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-study-"))
OUT = FOLDER / "study"
SETTINGS = {"prompts": FOLDER / "prompts.txt", "evaluate.prompts": FOLDER / "held-out.txt", "generate.steps": 2, "generate.true_cfg": 1, "generate.initial_per_prompt": 1, "generate.tuned_per_prompt": 2,
            "generate.adapter_strengths": "[0.5, 1.0]", "reconstruct.steps": 2, "optimize.pairs_seen": 8, "rewards.flow_updates": 1, "select.dynamic_pairs.max_semantic_loss": 9}
PAGE = "# Words by hand\n\n<!-- table: pairs -->\nold\n<!-- end of table -->\n\nMore words.\n\n<!-- table: layouts -->\n<!-- end of table -->\n\n<!-- table: made -->\n<!-- end of table -->\n"


def study(*more):
    command = [PROJECT / "launch/study", "--program", PROGRAM, "--out", OUT, "--people", 2, "--first", 900, "--seeds", 1, "--jobs", 2, *more]
    command += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    done = subprocess.run([str(word) for word in command], env=dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    return done.returncode, done.stdout


class Study(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(shutil.rmtree, FOLDER, ignore_errors=True)
        for name, source in (("prompts.txt", "training"), ("held-out.txt", "evaluation")):
            templates = [line for line in (PROJECT / f"datasets/prompts/miniature-{source}.txt").read_text().splitlines() if "{subject}" in line]
            (FOLDER / name).write_text("\n".join(templates[::7]) + "\n")
        (FOLDER / "page.md").write_text(PAGE)
        cls.arms = ("--arms", "identity-pairs,sequence-2", "--arm", "by-hand:optimize.beta=7;optimize.learning_rate=1e-3", "--arm", "hopeless:select.pairs=dynamic;select.dynamic_pairs.min_dynamics_gap=9",
                    "--page", FOLDER / "page.md")
        cls.code, cls.text = study(*cls.arms)
        shutil.copy(OUT / "tables.md", FOLDER / "first-tables.md")

    def test_every_person_has_every_arm(self):
        self.assertEqual(self.code, 0, self.text)
        arms = {"full", "identity-pairs", "sequence-2", "by-hand"}
        for person in ("person-0900", "person-0901"):
            self.assertEqual({p.parent.name for p in (OUT / "runs" / f"{person}-seed1").glob("*/study.done")}, arms)
            evaluation = json.loads((OUT / "runs" / f"{person}-seed1/full/evaluation.json").read_text())
            self.assertEqual({arm["arm"] for arm in evaluation["arms"]}, {"base", "stage1", "hpo", "real"})
        # The second arm takes over what it shares.
        self.assertIn("select: taken over", (OUT / "runs/person-0900-seed1/by-hand.log").read_text())

    def test_tables_hold_the_evaluations_means(self):
        rows = [json.loads((OUT / "runs" / f"person-090{i}-seed1/full/evaluation.json").read_text()) for i in range(2)]
        # Real videos of the prompts that the other arms have: comparisons are paired.
        prompts = (FOLDER / "held-out.txt").read_text().count("\n")
        real = [video["metrics"]["dynamic_degree"] for row in rows for video in row["videos"] if video["arm"] == "real" and video["prompt"] < prompts]
        self.assertEqual(len(real), 2 * prompts)
        mean = sum(real) / len(real)
        tables = (FOLDER / "first-tables.md").read_text()
        line = next(line for line in tables.splitlines() if line.startswith("| real videos"))
        self.assertAlmostEqual(float(line.split("|")[3]), mean, delta=0.006)
        for text in ("identity pairs alone", "two ranks share a sequence", "optimize.beta=7;optimize.learning_rate=1e-3", "Dynamics of the method over those of identity pairs alone"):
            self.assertIn(text, tables)
        self.assertNotIn("held still", tables, "arms that were not asked for")

    def test_the_page_keeps_its_words_and_gets_the_tables(self):
        page = (FOLDER / "page.md").read_text()
        for text in ("# Words by hand", "More words.", "| real videos of the person |", "| two ranks share a sequence |", "2 unseen people (from index 900)", "launch/study"):
            self.assertIn(text, page)
        self.assertNotIn("old", page)

    def test_started_again_it_does_nothing_twice(self):
        files = {p: p.stat().st_mtime_ns for p in (OUT / "runs").rglob("*.h5")}
        code, text = study(*self.arms)
        self.assertEqual(code, 0, text)
        self.assertNotIn("seed 1:", text)
        self.assertEqual(files, {p: p.stat().st_mtime_ns for p in (OUT / "runs").rglob("*.h5")})

    def test_tables_of_what_is_finished(self):
        missing = OUT / "runs/person-0901-seed1/identity-pairs/study.done"
        missing.rename(missing.with_suffix(".aside"))
        try:
            code, text = study("--arms", "identity-pairs", "--tables")
        finally:
            missing.with_suffix(".aside").rename(missing)
        self.assertEqual(code, 0, text)
        line = next(line for line in (OUT / "tables.md").read_text().splitlines() if line.startswith("| + identity pairs alone"))
        self.assertTrue(line.endswith("| 1 |"), line)

    def test_an_arm_without_pairs_has_a_row_without_figures(self):
        for person in ("person-0900", "person-0901"):
            self.assertIn("no preference pair", (OUT / "runs" / f"{person}-seed1/hopeless/study.none").read_text())
        line = next(line for line in (FOLDER / "first-tables.md").read_text().splitlines() if line.startswith("| select.pairs=dynamic"))
        self.assertTrue(line.endswith(" 0 |"), line)

    def test_mistakes_are_told(self):
        code, text = study("--tables", "--first", 7)
        self.assertEqual(code, 2)
        self.assertIn("people-7", text)
        code, text = study("--arms", "identity-pears")
        self.assertEqual(code, 2)
        self.assertIn("identity-pears", text)
        code, text = study("--arms", "full", "--arm", "wrong:optimize.betta=1")
        self.assertEqual(code, 3)
        self.assertIn("optimize.betta", text)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
