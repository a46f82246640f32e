#!/usr/bin/env python3
"""`magicid pretrain` as a user runs it, at sizes of seconds: every network, stopped and started again, on one and two ranks, and the folder that it leaves in use.

Usage: pretrain_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import pathlib
import shutil
import signal
import struct
import sys
import tempfile
import time
import unittest

from launcher import Launcher

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-pretrain-"))
LIMIT = 240  # seconds: a rank that hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)

SMALL = """
seed: 3
dtype: float32
world: {frames: 5, height: 32, width: 32, train_people: 6, test_people: 3}
clip: {steps: 3, batch: 4, width: 16, layers: 1, heads: 2, patch: 16, image_size: 32, projection: 8, text_width: 16, text_layers: 1, validate_every: 3, checkpoint_every: 1}
text_encoder: {steps: 3, batch: 4, width: 32, layers: 3, heads: 2, validate_every: 3, checkpoint_every: 1}
face_embedder: {steps: 3, batch: 4, embedding_size: 16, validate_every: 3, checkpoint_every: 1}
landmark_detector: {steps: 3, batch: 4, validate_every: 3, checkpoint_every: 1}
optical_flow: {steps: 2, batch: 1, updates: 2, validate_every: 2, checkpoint_every: 1}
autoencoder: {steps: 4, batch: 2, clip_batch: 1, channels: [8, 16, 16], latent_channels: 8, norm_groups: 2, validate_every: 4, checkpoint_every: 1}
transformer: {steps: 4, batch: 2, heads: 2, head_size: 16, double_blocks: 1, single_blocks: 1, clips: 8, sample_steps: 2, validate_every: 4, checkpoint_every: 1}
assessment: {clips: 4, steps: 2}
"""


def words(output, *more):
    FOLDER.mkdir(exist_ok=True)
    config = FOLDER / "small.yaml"
    config.write_text(SMALL + f"output: {FOLDER / 'default'}\n")
    return ["pretrain", config, "--set", f"output={output}", *more]


def pretrain(output, *more, ranks=0):
    return LAUNCHER.run(words(output, *more), ranks)


def weights(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def half_numbers(folder):
    content = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    return struct.unpack(f"<{(len(content) - header) // 2}e", content[header:])


class Pretrain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.whole = FOLDER / "whole"
        cls.text = pretrain(cls.whole)

    def test_every_network_leaves_its_folder_and_its_record(self):
        model = self.whole / "model"
        record = json.loads((model / "pretraining.json").read_text())
        self.assertEqual(sorted(record), ["assessment", "autoencoder", "clip", "face_embedder", "landmark_detector", "optical_flow", "text_encoder", "transformer"])
        for name, entry in record.items():
            self.assertTrue(entry["validation"], name)
            self.assertTrue(name == "assessment" or (self.whole / "training" / name / "metrics.jsonl").exists(), name)
        for folder in ("vae", "transformer", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler", "rewards/arcface", "rewards/landmarks", "rewards/raft", "rewards/clip"):
            self.assertTrue((model / folder).is_dir(), folder)

    def test_the_model_card_holds_the_figures(self):
        card = (self.whole / "model/README.md").read_text()
        record = json.loads((self.whole / "model/pretraining.json").read_text())
        for name in ("vae", "transformer", "rewards/raft"):
            self.assertIn(f"### {name}\n", card)
        self.assertIn("%.3g" % record["autoencoder"]["validation"]["psnr"], card)
        self.assertIn("%.3g" % record["assessment"]["validation"]["sampled_action_accuracy"], card)
        self.assertTrue((self.whole / "model/samples.png").exists())
        for figure in ("real_background_accuracy", "reconstructed_face_true_accept_rate", "sampled_face_found"):
            self.assertTrue(0 <= record["assessment"]["validation"][figure] <= 1, figure)

    def test_started_again_it_does_nothing(self):
        before = {p: p.stat().st_mtime_ns for p in (self.whole / "model").rglob("*") if p.is_file()}
        text = pretrain(self.whole)
        self.assertEqual(text.count("made earlier"), 7, text)
        self.assertEqual(before, {p: p.stat().st_mtime_ns for p in (self.whole / "model").rglob("*") if p.is_file()})

    def test_the_folder_makes_a_video(self):
        output = FOLDER / "video.mp4"
        LAUNCHER.run(["sample", "--model", self.whole / "model", "--prompt", "a person jumps slowly in a room", "--height", 32, "--width", 32, "--frames", 5, "--steps", 2, "--output", output])
        self.assertTrue(output.exists())

    def test_stopped_and_started_again_it_equals_an_unbroken_run(self):
        for name, needs in (("face_embedder", []), ("autoencoder", [])):
            output = FOLDER / ("broken-" + name)
            process = LAUNCHER.start(words(output, "--only", name))
            checkpoint = output / "training" / name / "checkpoint-000001.h5"
            end = time.time() + LIMIT
            while not checkpoint.exists() and process.poll() is None and time.time() < end:
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            code, text = LAUNCHER.finish(process)
            self.assertIn(code, (0, 75), text)  # 0: it was done before the signal came
            pretrain(output, "--only", name)
            for file, content in weights(output / "model").items():
                self.assertEqual(content, (self.whole / "model" / file).read_bytes(), file)

    def test_two_ranks_give_the_same_to_rounding(self):
        output = FOLDER / "two"
        pretrain(output, "--only", "landmark_detector,autoencoder", ranks=2)
        one, two = (json.loads((f / "model/pretraining.json").read_text()) for f in (self.whole, output))
        for name in ("landmark_detector", "autoencoder"):
            for figure, value in two[name]["validation"].items():
                self.assertAlmostEqual(value, one[name]["validation"][figure], delta=2e-2 * max(1, abs(value)), msg=f"{name} {figure}")

    def test_a_transformer_goes_on_from_another_folder(self):
        output, given = FOLDER / "further", self.whole / "model/transformer"
        shutil.copytree(self.whole, output)
        shutil.rmtree(output / "training/transformer")
        record = output / "model/pretraining.json"
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k not in ("transformer", "assessment")}))
        again = ["--only", "transformer", "--set", f"transformer.initialize_from={given}", "--set", "transformer.learning_rate=1e-12"]
        pretrain(output, *again)
        self.assertIn("began as those of another transformer", json.loads(record.read_text())["transformer"]["origin"])
        self.assertIn("began as those of another transformer", (output / "model/README.md").read_text())
        self.assertTrue(half_numbers(output / "model/transformer") == half_numbers(given), "steps too small to leave a trace in 16 bits")
        shutil.rmtree(output / "training/transformer")
        record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k not in ("transformer", "assessment")}))
        code, text = LAUNCHER.outcome(words(output, "--only", "transformer", "--set", f"transformer.initialize_from={FOLDER / 'nothing'}"))
        self.assertEqual(code, 2, text)
        self.assertIn(str(FOLDER / "nothing"), text)
        # A file of the right name without a tensor of the right name.
        code, text = LAUNCHER.outcome(words(output, "--only", "transformer", "--set", f"transformer.initialize_from={self.whole / 'model/vae'}"), 2)
        self.assertEqual(code, 2, text)
        self.assertIn("no tensor of", text)

    def test_a_network_that_lacks_another_says_which(self):
        code, text = LAUNCHER.outcome(words(FOLDER / "alone", "--only", "transformer"))
        self.assertEqual(code, 2, text)
        self.assertIn("vae", text)

    def test_an_unknown_network_is_named(self):
        code, text = LAUNCHER.outcome(words(FOLDER / "unknown", "--only", "autoencodr"))
        self.assertEqual(code, 2, text)
        self.assertIn("autoencoder", text)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
