#!/usr/bin/env python3
"""The published model without its download: files of its size that take no disk, and what `magicid preflight` says of them. Standard library only.

Usage: full_size_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

from launcher import Launcher

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-full-size-"))
MODEL = FOLDER / "model"
LAUNCHER = Launcher(PROGRAM, PROJECT, limit=300)


def setUpModule():
    LAUNCHER.run(["init-model", "--size", "hunyuanvideo", MODEL])


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


def tensors(part):
    """{name: (dtype, shape)} of a network's files, by their headers."""
    found = {}
    for file in (MODEL / part).glob("*.safetensors"):
        with open(file, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        header.pop("__metadata__", None)
        found.update({name: (entry["dtype"], entry["shape"]) for name, entry in header.items()})
    return found


def numbers(part):
    total = 0
    for _, shape in tensors(part).values():
        count = 1
        for size in shape:
            count *= size
        total += count
    return total


def preflight(model, ranks=1, **changes):
    """Of the 720p configuration with a small adapter, whose checkpoint is written and read back."""
    settings = {"model.folder": model, "model.device": "cpu", "output": FOLDER / f"run-{model.name}", "mesh.sequence": 1, "adapter.lora_rank": 1,
                "subject.references": PROJECT / "datasets/reference", "rewards.face_detector.kind": "haar", "rewards.face_detector.file": "", **changes}
    for network in ("arcface", "raft", "clip"):
        settings.setdefault(f"rewards.{network}", MODEL / "rewards" / network)
    words = ["preflight", PROJECT / "configs/hunyuanvideo-720p.yaml"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return LAUNCHER.outcome(words, ranks)


class FullSize(unittest.TestCase):
    def test_names_shapes_and_dtypes_are_the_published_ones_and_take_no_disk(self):
        # Counted of the reference classes: tests/reference/check_full_size.py.
        for part, count, total, dtype in (("transformer", 1264, 12_821_012_544, "BF16"), ("vae", 248, 246_478_803, "F32"), ("text_encoder", 290, 7_505_186_816, "F16"),
                                          ("text_encoder_2", 196, 123_060_480, "F16"), ("rewards/clip", 590, 427_616_513, "F32")):
            self.assertEqual((len(tensors(part)), numbers(part)), (count, total), part)
            self.assertEqual({d for d, _ in tensors(part).values()}, {dtype}, part)
        files = [f for f in MODEL.rglob("*") if f.is_file()]
        self.assertGreater(sum(f.stat().st_size for f in files), 40e9)
        self.assertLess(sum(f.stat().st_blocks * 512 for f in files), 10e6)

    def test_preflight_reads_headers_and_finds_everything(self):
        for ranks in (1, 2):
            code, text = preflight(MODEL, ranks)
            self.assertEqual(code, 0, text)
            for what in ("transformer", "autoencoder", "text encoders", "reward networks"):
                self.assertRegex(text, rf"info (\[rank 0\] )?{what}: .*every tensor is there")
            self.assertRegex(text, r"memory: optimize needs 1\d\d\.?\d* GB a rank", text)
            self.assertRegex(text, r"checkpoint: one of [\d.]+ MB was written to \S*run-model and read back")
            self.assertIn("nothing stands in the way", text)
        self.assertFalse((FOLDER / "run-model/preflight").exists())

    def test_everything_that_is_wrong_is_told_at_once(self):
        broken = FOLDER / "broken"
        shutil.copytree(MODEL, broken, copy_function=os.link)
        (broken / "text_encoder/model-00003-of-00004.safetensors").unlink()
        vae = json.loads((broken / "vae/config.json").read_text())
        vae["block_out_channels"] = [128, 256, 512, 256]
        (broken / "vae/config.json").unlink()
        (broken / "vae/config.json").write_text(json.dumps(vae))
        code, text = preflight(broken)
        self.assertEqual(code, 2, text)
        self.assertRegex(text, r"transformer: .*every tensor is there")
        self.assertRegex(text, r"autoencoder: .*the weights do not fit")
        self.assertRegex(text, r"text encoders: .*1 of 4 weight files are missing")
        # A file of weights that is cut off is found before that: the model's identity is made of every header.
        shard = broken / "transformer/diffusion_pytorch_model-00002-of-00006.safetensors"
        content = open(shard, "rb").read(1_000_000)
        shard.unlink()
        shard.write_bytes(content)
        code, text = preflight(broken)
        self.assertEqual(code, 2, text)
        self.assertRegex(text, r"diffusion_pytorch_model-00002-of-00006.safetensors: not a valid safetensors file.*Was the download cut off")


if __name__ == "__main__":
    del sys.argv[1:3]
    unittest.main(verbosity=2)
