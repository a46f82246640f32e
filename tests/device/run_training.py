#!/usr/bin/env python3
"""Trains a tiny model on GPUs as on the CPU, with the program itself: reconstruction's and preference optimization's steps on each layout that the GPUs allow, against the CPU's. Standard library only.

Usage: tests/device/run_training.py [--program build/cuda/bin/magicid] [--device cuda|cpu]

What must hold, on every layout: the first preference loss is log 2 to the bit, in float32 and in bfloat16; each step's figures in float32 are those of one CPU rank to 1e-3; a second run gives the
same bytes of adapter and optimizer state (the checkpoints), in float32 and in bfloat16. Where there is no GPU: exit code 77. --device cpu compares layouts on the CPU, which needs no GPU and is
what shows that this script works.
"""
import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests/end_to_end"))
from launcher import Launcher, dotted, flags  # noqa: E402

FIGURES = ("loss", "winner_error", "loser_error", "reference_winner_error", "reference_loser_error", "gradient_norm")
STEPS = 6


def gpus():
    try:
        return len(subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout.split("\n")) - 1
    except (OSError, subprocess.CalledProcessError):
        return 0


class Runs:
    def __init__(self, program, folder):
        self.launcher, self.folder = Launcher(program, PROJECT, 900), folder
        (folder / "prompts.txt").write_text("a {subject} walks on a beach\na {subject} waves\n")
        self.launcher.run(["init-model", "--size", "tiny", "--seed", "1", folder / "model"])

    def stages(self, name, verbs, ranks=0, **changes):
        settings = {"output": self.folder / name, "model.folder": self.folder / "model", "prompts": self.folder / "prompts.txt", "video.frames": 5,
                    "rewards.flow_updates": 1, "rewards.flow_rate": 4, "rewards.face_frames": 2, "generate.steps": 2, "reconstruct.steps": STEPS,
                    "optimize.pairs_seen": 2 * STEPS, "optimize.global_batch": 2, "optimize.learning_rate": 1e-3, "rewards.face_detector.kind": "none", "model.dtype": "float32"}
        for verb in verbs:
            self.launcher.run([verb, PROJECT / "configs/tiny.yaml", *flags({**settings, **dotted(changes)})], ranks)

    def optimize(self, upstream, names, ranks=0, **changes):
        """In a copy of the run directory `upstream` for each name."""
        for name in names:
            shutil.copytree(self.folder / upstream, self.folder / name, copy_function=shutil.copy2)
            self.stages(name, ("optimize",), ranks, **changes)

    def steps(self, name, stage="optimize"):
        lines = [json.loads(line) for line in (self.folder / name / stage / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if "loss" in line]

    def checkpoints(self, name, stage="optimize"):
        """Names and bytes: the adapter with the optimizer's state."""
        return {path.name: path.read_bytes() for path in (self.folder / name / stage).glob("checkpoint-*.h5")}


def largest_difference(found, expected):
    return max(abs(a[key] - b[key]) / abs(b[key]) for a, b in zip(found, expected, strict=True) for key in FIGURES if key in b)


def description(ranks, layout):
    return " ".join(["%d rank%s" % (ranks, "s" if ranks > 1 else ""), *("%s %d" % (key.split("__")[1], value) for key, value in layout.items())])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default=PROJECT / "build/cuda/bin/magicid", type=pathlib.Path)
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    a = p.parse_args()
    available = gpus() if a.device == "cuda" else 2
    if available == 0:
        print("no GPU on this node: nothing was tested", file=sys.stderr)
        return 77
    if not a.program.exists():
        print("%s is not there: build it with  cmake --preset cuda && cmake --build --preset cuda --target magicid" % a.program, file=sys.stderr)
        return 2
    layouts = [(1, {})] + [(ranks, layout) for ranks in (2, 4, 8) if ranks <= available
                           for layout in ({}, {"mesh__sequence": 2}, {"mesh__pair": 2}, *([{"mesh__sequence": 2, "mesh__pair": 2}] if ranks > 2 else []))]
    failures = []

    def check(holds, what):
        print("%s  %s" % ("ok    " if holds else "FAILED", what), flush=True)
        if not holds:
            failures.append(what)

    with tempfile.TemporaryDirectory(prefix="magicid-device-") as folder:
        runs = Runs(a.program, pathlib.Path(folder))

        def check_repeats(name, what):
            first, again = runs.checkpoints(name), runs.checkpoints(name + "-again")
            differing = sorted(file for file in first.keys() | again.keys() if first.get(file) != again.get(file))
            check(first and not differing, "%s: the same bytes again (%s)" % (what, ", ".join(differing or first) or "no checkpoint"))

        upstream = ("prepare", "reconstruct", "generate", "score", "select")
        runs.stages("upstream", upstream, model__device="cpu")
        runs.optimize("upstream", ["cpu"], model__device="cpu")
        expected, first_stage = runs.steps("cpu"), runs.steps("cpu", "reconstruct")
        runs.stages("stage1", ("prepare", "reconstruct"), model__device=a.device)
        check(largest_difference(runs.steps("stage1", "reconstruct"), first_stage) < 1e-3, "reconstruction, float32, one rank")
        for number, (ranks, layout) in enumerate(layouts):
            name, text = "run-%d" % number, description(ranks, layout)
            runs.optimize("upstream", [name, name + "-again"], ranks, model__device=a.device, **layout)
            found = runs.steps(name)
            check(found[0]["loss"] == math.log(2), "preference optimization, float32, %s: the first loss is log 2" % text)
            difference = largest_difference(found, expected)
            check(difference < 1e-3, "preference optimization, float32, %s: %d steps as on one CPU rank, largest relative difference %.1e" % (text, STEPS, difference))
            check_repeats(name, "preference optimization, float32, %s" % text)
        # In bfloat16 everything before is made on the device too.
        for number, (ranks, layout) in enumerate(layouts):
            name, text = "half-%d" % number, description(ranks, layout)
            runs.stages(name + "-upstream", upstream, ranks, model__device=a.device, model__dtype="bfloat16", **layout)
            runs.optimize(name + "-upstream", [name, name + "-again"], ranks, model__device=a.device, model__dtype="bfloat16", **layout)
            check(runs.steps(name)[0]["loss"] == math.log(2), "preference optimization, bfloat16, %s: the first loss is log 2" % text)
            check_repeats(name, "preference optimization, bfloat16, %s" % text)
    print("%d checks failed" % len(failures) if failures else "everything passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
