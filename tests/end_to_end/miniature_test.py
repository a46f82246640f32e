#!/usr/bin/env python3
"""The quickstart's configuration with the project's own small model, with fewer prompts and steps: the method's first effect is there, and the arms stand in one report.

Usage: miniature_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

from adapter_files import update_difference
from launcher import Launcher, dotted, flags

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-miniature-"))
MODEL = PROJECT / "datasets/miniature"
LIMIT = 400
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)
SMALL = {"generate.steps": 8, "generate.initial_per_prompt": 1, "generate.tuned_per_prompt": 2, "generate.adapter_strengths": "[0.5, 1.0]", "optimize.pairs_seen": 80, "rewards.flow_updates": 4,
         "prompts": FOLDER / "prompts.txt", "evaluate.prompts": FOLDER / "held-out.txt"}


def magicid(verb, output, ranks=2, **changes):
    LAUNCHER.run([verb, PROJECT / "configs/quickstart.yaml", *flags({**SMALL, "output": FOLDER / output, **dotted(changes)})], ranks)


class Miniature(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for name, source, lines in (("prompts.txt", "miniature-training.txt", 8), ("held-out.txt", "miniature-evaluation.txt", 6)):
            templates = [line for line in (PROJECT / "datasets/prompts" / source).read_text().splitlines() if "{subject}" in line]
            (FOLDER / name).write_text("\n".join(templates[::max(1, len(templates) // lines)][:lines]) + "\n")
        for verb in ("prepare", "reconstruct", "generate", "score", "select"):
            magicid(verb, "selected")
        for name in ("whole", "identity"):
            shutil.copytree(FOLDER / "selected", FOLDER / name, copy_function=shutil.copy2)
        magicid("optimize", "whole")
        for verb in ("select", "optimize"):
            magicid(verb, "identity", select__pairs="identity")
        arms = "{identity pairs: %s}" % (FOLDER / "identity")
        for verb in ("evaluate", "export", "report"):
            magicid(verb, "whole", evaluate__runs=arms)
        cls.arms = {arm["arm"]: arm["metrics"] for arm in json.loads((FOLDER / "whole/evaluation.json").read_text())["arms"]}

    def test_four_arms_stand_in_the_evaluation_and_in_the_report(self):
        self.assertEqual(set(self.arms), {"base", "stage1", "hpo", "identity pairs"})
        report = (FOLDER / "whole/report.html").read_text()
        self.assertIn("identity pairs", report)

    def test_stage_1_brings_the_face(self):
        self.assertGreater(self.arms["stage1"]["face_similarity"]["mean"], self.arms["base"]["face_similarity"]["mean"] + 0.1)

    def test_the_base_model_draws_faces_that_are_somebody_elses(self):
        self.assertGreater(self.arms["base"]["frames_with_face"]["mean"], 6)
        self.assertLess(self.arms["base"]["face_similarity"]["mean"], 0.2)

    def test_every_layout_trains_the_same_adapter_to_rounding(self):
        layouts = {"start": (1, {"optimize__learning_rate": 1e-12}), "one": (1, {}), "replicas": (2, {}), "sequence": (2, {"mesh__sequence": 2}), "pair": (2, {"mesh__pair": 2})}
        start, one = (FOLDER / name / "adapter/kohya.safetensors" for name in ("start", "one"))
        for name, (ranks, layout) in layouts.items():
            shutil.copytree(FOLDER / "selected", FOLDER / name, copy_function=shutil.copy2)
            for verb in ("optimize", "export"):
                magicid(verb, name, ranks, optimize__pairs_seen=16, export__formats="[kohya]", **layout)
            if name in ("start", "one"):
                continue
            self.assertLess(update_difference(FOLDER / name / "adapter/kohya.safetensors", one, start), 0.05, name)
            expected = [json.loads(line) for line in (FOLDER / "one/optimize/metrics.jsonl").read_text().splitlines()]
            found = [json.loads(line) for line in (FOLDER / name / "optimize/metrics.jsonl").read_text().splitlines()]
            self.assertEqual(len(found), 2)
            for metric in ("loss", "winner_error", "loser_error", "gradient_norm"):
                for a, b in zip(found, expected, strict=True):
                    self.assertLess(abs(a[metric] / b[metric] - 1), 1e-3, f"{name}, step {b['step']}, {metric}")

    def test_the_weights_are_those_that_the_card_describes(self):
        record = json.loads((MODEL / "pretraining.json").read_text())
        card = (MODEL / "README.md").read_text()
        for name in ("autoencoder", "clip", "face_embedder", "landmark_detector", "optical_flow", "text_encoder", "transformer"):
            self.assertIn(str(record[name]["steps"]), card, name)
        self.assertLess(sum(p.stat().st_size for p in MODEL.rglob("*") if p.is_file()), 20e6)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
