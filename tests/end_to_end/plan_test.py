#!/usr/bin/env python3
"""`magicid plan` counts what a run would do: photos as `prepare` lists them, frames as the rewards choose them.

    plan_test.py PROGRAM PROJECT
"""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM, ROOT = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()


def plan(*settings):
    command = [PROGRAM, "plan", "configs/hunyuanvideo-720p.yaml", "--model-config", "hunyuanvideo", "--gpus", "1x8", "--device", "h100-80gb", "--json"]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def stage(name, *settings):
    done = plan(*settings)
    if done.returncode:
        raise AssertionError(done.stderr)
    return next(phase for phase in json.loads(done.stdout)["phases"] if phase["stage"] == name)


class Plan(unittest.TestCase):
    def test_stills_are_the_photos_that_the_run_reads(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.JPG", "b.WEBP", "c.Png", ".d.jpg", "notes.txt"):
                (Path(folder) / name).touch()
            self.assertIn(", 3 stills", stage("prepare", f"subject.references={folder}")["work"])

    def test_a_folder_without_photos_is_refused_as_in_the_run(self):
        with tempfile.TemporaryDirectory() as folder:
            done = plan(f"subject.references={folder}")
            self.assertEqual(done.returncode, 2)
            self.assertIn("the folder holds no picture", done.stderr)

    def test_no_number_of_face_frames_means_all_frames(self):
        usual, every = stage("score"), stage("score", "rewards.face_frames=0")
        self.assertGreater(every["flops"], usual["flops"])
        self.assertEqual(every["flops"], stage("score", "rewards.face_frames=61")["flops"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
