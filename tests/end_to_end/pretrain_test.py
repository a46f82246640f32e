#!/usr/bin/env python3
"""`magicid pretrain` as a user runs it, at sizes of seconds: every network, stopped and started again, under other options, on one and two ranks, and the folder that it leaves in use.

Usage: pretrain_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import pathlib
import re
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
ROUNDING = 1e-3  # of a float16 number
# What the loss does not depend on, so that rounding alone moves it: biases of keys and of heatmaps, which a softmax takes away, and those before a norm with the batch's statistics.
NO_GRADIENT = re.compile(r"(k_proj|to_k|^heat)\.bias$|\bbn\.(bias|running_mean)$")
LIMIT = 240  # seconds: a rank that hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)

# Steps of full size from the first on, so that they show in float16; those that a test stops are enough to be stopped. Three batches a step: the sum of two is the same in any order.
SMALL = """
seed: 3
dtype: float32
world: {frames: 5, height: 32, width: 32, train_people: 6, test_people: 3}
clip: {steps: 4, global_batch: 3, batch: 4, width: 16, layers: 1, heads: 2, patch: 16, image_size: 32, projection: 8, text_width: 16, text_layers: 1, validate_every: 4, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
text_encoder: {steps: 4, global_batch: 3, batch: 4, width: 32, layers: 3, heads: 2, validate_every: 4, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
face_embedder: {steps: 20, global_batch: 3, batch: 4, embedding_size: 16, channels: [8, 12, 16, 32], blocks: [1, 1, 1], validate_every: 20, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
landmark_detector: {steps: 4, global_batch: 3, batch: 4, validate_every: 4, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
optical_flow: {steps: 3, batch: 1, updates: 2, validate_every: 3, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
autoencoder: {steps: 20, global_batch: 3, batch: 2, clip_batch: 1, channels: [8, 16, 16], latent_channels: 8, norm_groups: 2, validate_every: 20, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
transformer: {steps: 20, global_batch: 3, batch: 2, heads: 2, head_size: 16, double_blocks: 1, single_blocks: 1, clips: 8, pictures: 8, sample_steps: 2, validate_every: 20, checkpoint_every: 1, warmup_steps: 0, schedule: constant}
assessment: {clips: 4, steps: 2}
"""
# All but the optical flow, whose validation takes longer than all of the others together.
QUICK = ("clip", "text_encoder", "face_embedder", "landmark_detector", "autoencoder", "transformer")


def words(output, *more):
    FOLDER.mkdir(exist_ok=True)
    config = FOLDER / "small.yaml"
    config.write_text(SMALL + f"output: {FOLDER / 'default'}\n")
    return ["pretrain", config, "--set", f"output={output}", *more]


def pretrain(output, *more, ranks=0):
    return LAUNCHER.run(words(output, *more), ranks)


def weights(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def half_tensors(file):
    content = file.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    found = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F16":
            first, end = about["data_offsets"]
            found[name] = struct.unpack(f"<{(end - first) // 2}e", content[start + first:start + end])
    return found


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def read_record(output):
    return json.loads((output / "model/pretraining.json").read_text())


def forget(output, *names):
    """As if the networks had not been made yet."""
    record = {k: v for k, v in read_record(output).items() if k not in (*names, "assessment")}
    (output / "model/pretraining.json").write_text(json.dumps(record))
    for name in names:
        shutil.rmtree(output / "training" / name)


class Pretrain(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.whole = FOLDER / "whole"
        cls.text = pretrain(cls.whole)

    def copy(self, name):
        return pathlib.Path(shutil.copytree(self.whole, FOLDER / name))

    def refused(self, words, *expected, ranks=0):
        code, text = LAUNCHER.outcome(words, ranks)
        self.assertEqual(code, 2, text)
        for part in expected:
            self.assertIn(part, text)

    def test_every_network_leaves_its_folder_and_its_record(self):
        model = self.whole / "model"
        record = json.loads((model / "pretraining.json").read_text())
        self.assertEqual(sorted(record), ["assessment", "autoencoder", "clip", "face_embedder", "landmark_detector", "optical_flow", "text_encoder", "transformer"])
        for name, entry in record.items():
            self.assertTrue(entry["validation"], name)
            self.assertTrue(name == "assessment" or (self.whole / "training" / name / "metrics.jsonl").exists(), name)
        for folder in ("vae", "transformer", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler", "rewards/arcface", "rewards/landmarks", "rewards/raft", "rewards/clip"):
            self.assertTrue((model / folder).is_dir(), folder)
        for name, picture in (("autoencoder", "clips-and-reconstructions"), ("transformer", "samples"), ("landmark_detector", "faces"), ("optical_flow", "frames-and-flows"), ("face_embedder", "nearest-faces")):
            steps = record[name]["steps"]
            self.assertEqual((self.whole / f"training/{name}/samples/step-{steps}/{picture}.png").read_bytes()[1:4], b"PNG", name)

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

    def test_the_card_says_who_made_what(self):
        card = (self.whole / "model/README.md").read_text()
        self.assertIn(f"Made with `magicid pretrain {FOLDER / 'small.yaml'} --set output={self.whole}` on 1 rank.\n", card)
        for name, entry in read_record(self.whole).items():
            if name != "assessment":
                self.assertEqual([(s["after_step"], s["ranks"], s["schedule"]["steps"]) for s in entry["starts"]], [(0, 1, entry["steps"])], name)
        self.assertLess(card.index("PSNR"), card.index("the same inside the face's box"))
        for figure in ("error", "moving_error", "found_degraded", "image_retrieval"):
            self.assertNotIn(f"| `{figure}` |", card)
        self.assertRegex(card, r"\| mean length of the flow's error \| [\d.e+]+ \| pixels \|")

    def test_a_history_in_the_record_reaches_the_card(self):
        output = self.copy("history")
        record = read_record(output)
        record["autoencoder"]["history"] = "It was begun on a Monday."
        (output / "model/pretraining.json").write_text(json.dumps(record))
        pretrain(output)
        self.assertIn("`vae`: It was begun on a Monday.\n", (output / "model/README.md").read_text())
        pretrain(output, "--only", "autoencoder", "--set", "autoencoder.steps=21")
        self.assertEqual(read_record(output)["autoencoder"]["history"], "It was begun on a Monday.")

    def test_the_committed_networks_are_made_and_their_card_is_that_of_their_record(self):
        output, committed = FOLDER / "committed", PROJECT / "datasets/miniature"
        shutil.copytree(committed, output / "model")
        text = LAUNCHER.run(["pretrain", PROJECT / "configs/miniature.yaml", "--set", f"output={output}"])
        self.assertEqual(text.count("made earlier"), 7, text)
        self.assertEqual((output / "model/README.md").read_text(), (committed / "README.md").read_text(), "its record changed: write the card again")

    def test_the_keys_are_those_of_the_document(self):
        printed = LAUNCHER.run(["pretrain", "--keys"])
        self.assertEqual((PROJECT / "docs/pretraining-keys.md").read_text(), printed, "print it again: magicid pretrain --keys > docs/pretraining-keys.md")

    def test_stopped_and_started_again_it_equals_an_unbroken_run(self):
        for name in ("face_embedder", "autoencoder", "transformer"):
            output = FOLDER / ("broken-" + name)
            if name == "transformer":  # which needs others
                self.copy(output.name)
                forget(output, name)
                shutil.rmtree(output / "model/transformer")
            process = LAUNCHER.start(words(output, "--only", name))
            end = time.time() + LIMIT
            while not list((output / "training" / name).glob("checkpoint-*.h5")) and process.poll() is None and time.time() < end:
                time.sleep(0.002)
            process.send_signal(signal.SIGTERM)
            code, text = LAUNCHER.finish(process)
            self.assertEqual(code, 75, text)
            self.assertIn("goes on after step", pretrain(output, "--only", name))
            self.assertEqual(len(read_record(output)[name]["starts"]), 1, "the same command under the same schedule is one start")
            written = weights(output / "model")
            self.assertTrue(written)
            for file, content in written.items():
                self.assertEqual(content, (self.whole / "model" / file).read_bytes(), file)

    def test_two_ranks_give_the_same_to_rounding(self):
        untrained, two = FOLDER / "untrained", FOLDER / "two"
        pretrain(untrained, "--only", ",".join(QUICK), *(word for name in QUICK for word in ("--set", f"{name}.steps=1", "--set", f"{name}.learning_rate=1e-12")))
        pretrain(two, "--only", ",".join(QUICK), ranks=2)
        self.assertEqual({s["ranks"] for name in QUICK for s in read_record(two)[name]["starts"]}, {2})
        for file in weights(two / "model"):
            before, one, other = (half_tensors(output / "model" / file) for output in (untrained, self.whole, two))
            # Of its update, which is what a network that had not learned at all would be off by. Norms with the statistics of four faces multiply rounding from step to step.
            allowed = 0.4 if "arcface" in file else 0.02
            learned, judged = 0, {name: tensor for name, tensor in one.items() if not NO_GRADIENT.search(name)}
            for name, tensor in judged.items():
                size, update, apart = distance(tensor, [0] * len(tensor)), distance(tensor, before[name]), distance(tensor, other[name])
                learned += update > 4 * ROUNDING * size
                self.assertLessEqual(apart, allowed * update + ROUNDING * size, f"{file} {name}: two ranks are off by {apart:.3g} after an update of {update:.3g}")
            self.assertGreater(learned, 0.7 * len(judged), f"{file}: training left most tensors where they were")

    def test_weights_are_not_taken_for_those_of_other_options(self):
        output = self.copy("other")
        before = {p: p.stat().st_mtime_ns for p in (output / "model").rglob("*") if p.is_file()}
        for name, key, was, now in (("face_embedder", "seed", "3", "4"), ("autoencoder", "autoencoder.face_weight", "2.0", "1.5"), ("transformer", "transformer.shift", "3.0", "5.0"),
                                    ("optical_flow", "world.train_people", "6", "5"), ("text_encoder", "text_encoder.width", "32", "48"), ("clip", "clip.steps", "4", "2"), ("clip", "clip.decay_steps", "0", "2")):
            self.refused(words(output, "--only", name, "--set", f"{key}={now}"), f"{key} is {now} now, was {was} then", "checkpoint-", "`output`")
        shutil.rmtree(output / "training/transformer")
        self.refused(words(output, "--only", "transformer", "--set", "transformer.steps=40"), "transformer.steps is 40 now, was 20 then", "no checkpoint is left", ranks=2)
        self.assertEqual(before, {p: p.stat().st_mtime_ns for p in (output / "model").rglob("*") if p.is_file()})

    def test_a_network_knows_those_that_it_was_trained_on(self):
        output = self.copy("newer")
        pretrain(output, "--only", "autoencoder", "--set", "autoencoder.steps=22")
        self.refused(words(output, "--only", "transformer"), "transformer was trained with something else: model/vae is")
        forget(output, "transformer")
        pretrain(output, "--only", "transformer")
        self.assertNotEqual(read_record(output)["transformer"]["networks"]["vae"], read_record(self.whole)["transformer"]["networks"]["vae"])

    def test_a_schedule_may_change_while_steps_remain(self):
        output = self.copy("longer")
        text = pretrain(output, "--only", "text_encoder", "--set", "text_encoder.steps=6", "--set", "text_encoder.learning_rate=1e-4")
        self.assertIn("goes on after step 4 of 6", text)
        entry = read_record(output)["text_encoder"]
        self.assertEqual((entry["steps"], entry["options"]["learning_rate"]), (6, 1e-4))
        self.assertEqual([(s["after_step"], s["schedule"]["steps"], s["schedule"]["learning_rate"]) for s in entry["starts"]], [(0, 4, 2e-3), (4, 6, 1e-4)])

    def test_a_transformer_goes_on_from_another_folder(self):
        output, given = self.copy("further"), FOLDER / "given"
        shutil.copytree(self.whole / "model/transformer", given)
        forget(output, "transformer")
        slow = ["--only", "transformer", "--set", "transformer.learning_rate=1e-12", "--set"]
        pretrain(output, *slow, f"transformer.initialize_from={given}", "--set", "transformer.steps=2")
        origin = read_record(output)["transformer"]["origin"]
        self.assertIn("began as those of another transformer", origin)
        self.assertIn("began as those of another transformer", (output / "model/README.md").read_text())
        file = "diffusion_pytorch_model.safetensors"
        self.assertTrue(half_tensors(output / "model/transformer" / file) == half_tensors(given / file), "steps too small to leave a trace in 16 bits")
        # The checkpoint has the weights and knows where they began: the folder may be gone, or the option.
        shutil.rmtree(given)
        pretrain(output, *slow, f"transformer.initialize_from={given}", "--set", "transformer.steps=3")
        self.assertEqual(read_record(output)["transformer"]["origin"], origin)
        (output / "model/pretraining.json").unlink()
        pretrain(output, *slow, "transformer.steps=4")
        self.assertEqual(read_record(output)["transformer"]["origin"], origin)
        # Without a checkpoint it is read.
        forget(output, "transformer")
        self.refused(words(output, *slow, f"transformer.initialize_from={given}"), str(given))
        # A file of the right name without a tensor of the right name.
        self.refused(words(output, *slow, f"transformer.initialize_from={self.whole / 'model/vae'}"), "no tensor of", ranks=2)

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
