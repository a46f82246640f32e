#!/usr/bin/env python3
"""Previews while training and the choice of the best step, as a user meets them: scores in the log, an unchanged adapter, restarts, ranks. Standard library only.

Usage: previews_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import json
import math
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
import unittest

from launcher import Launcher, dotted, flags

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-previews-"))
MODEL = FOLDER / "model"
LIMIT = 300  # seconds: a rank that hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)
start, finish = LAUNCHER.start, LAUNCHER.finish
# Five steps; previews before the first, after steps 2 and 4, and at the end.
SMALL = {"video.frames": 5, "rewards.flow_updates": 1, "generate.steps": 2, "optimize.pairs_seen": 20, "optimize.global_batch": 4, "reconstruct.steps": 3, "reconstruct.global_batch": 2,
         "optimize.checkpoint_every": 3, "optimize.learning_rate": 3e-3, "evaluate.arms": "[hpo]", "generate.initial_per_prompt": 1, "generate.tuned_per_prompt": 2,
         # No faces are looked for: that takes longest, and a random model draws none.
         "rewards.face_detector.kind": "none", "rewards.flow_rate": 4, "rewards.face_frames": 2, "rewards.semantic_frames": 2}
PREVIEWS = {"optimize__previews__every": 2, "optimize__previews__count": 2}
DUE = [0, 2, 4, 5]
REWARDS = ("identity", "dynamics", "semantics")
RULES = ("identity", "dynamics", "sum")


def words(verb, output, **changes):
    settings = dict(SMALL, output=output, prompts=FOLDER / "prompts.txt")
    settings["model.folder"] = MODEL
    return [verb, PROJECT / "configs/tiny.yaml", *flags({**settings, **dotted(changes)})]


def run(name, ranks=0, verb="optimize", **changes):
    if not (FOLDER / name).exists():
        shutil.copytree(FOLDER / "selected", FOLDER / name, copy_function=shutil.copy2)
    return LAUNCHER.run(words(verb, FOLDER / name, **changes), ranks)


def lines(name, stage="optimize"):
    path = FOLDER / name / stage / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def previews(name):
    return sorted((line for line in lines(name) if "previews" in line), key=lambda line: line["step"])


def stage(name, which="optimize"):
    return json.loads((FOLDER / name / "manifest.json").read_text())["stages"][which]


def figures(name):
    """What must be the same however often the job was stopped: all but times."""
    return [(line["step"], line["previews"]) for line in previews(name)]


def setUpModule():
    (FOLDER / "prompts.txt").write_text("a {subject} walks\na {subject} waves\na {subject} sings\n")
    code, text = finish(start(["init-model", "--size", "tiny", "--seed", "1", str(MODEL)]))
    assert code == 0, text
    for verb in ("prepare", "reconstruct", "generate", "score", "select"):
        code, text = finish(start(words(verb, FOLDER / "selected")))
        assert code == 0, text
    run("plain")
    run("shown", **PREVIEWS)
    for rule in RULES:
        run(f"best-{rule}", **PREVIEWS, optimize__keep_best=rule)


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


class Previews(unittest.TestCase):
    def test_they_are_made_scored_and_logged_when_they_are_due(self):
        rounds = previews("shown")
        self.assertEqual([line["step"] for line in rounds], DUE)
        for line in rounds:
            self.assertEqual([video["prompt"] for video in line["previews"]], ["a sks woman walks", "a sks woman waves"])
            for reward in REWARDS:
                values = [video[reward] for video in line["previews"]]
                self.assertTrue(all(math.isfinite(value) for value in values))
                self.assertAlmostEqual(line["preview_" + reward], sum(values) / len(values), places=12)
            for video in line["previews"]:
                data = (FOLDER / "shown/optimize" / video["file"]).read_bytes()
                self.assertEqual(data[4:8], b"ftyp", video["file"])
        # The same noise with another adapter: another video, another score.
        self.assertEqual(len({line["preview_identity"] for line in rounds}), len(DUE))
        self.assertEqual([line["step"] for line in lines("shown") if "loss" in line], [1, 2, 3, 4, 5])
        events = b"".join(path.read_bytes() for path in (FOLDER / "shown/optimize").glob("events.out.tfevents.*"))
        for reward in REWARDS:
            self.assertEqual(events.count(f"optimize/preview_{reward}".encode()), len(DUE))

    def test_they_do_not_change_what_is_trained(self):
        self.assertEqual(stage("shown")["result"], stage("plain")["result"])
        bare = [{key: value for key, value in line.items() if "second" not in key} for line in lines("plain")]
        self.assertEqual([{key: value for key, value in line.items() if "second" not in key} for line in lines("shown") if "loss" in line], bare)
        self.assertEqual(previews("plain"), [])

    def test_another_seed_and_another_file_of_prompts(self):
        (FOLDER / "own.txt").write_text("a {subject} reads a book\n")
        run("own", **PREVIEWS, optimize__previews__prompts=FOLDER / "own.txt", optimize__previews__seed=7)
        self.assertEqual({video["prompt"] for line in previews("own") for video in line["previews"]}, {"a sks woman reads a book"})
        self.assertEqual(stage("own")["result"], stage("plain")["result"])

    def test_they_come_out_the_same_on_other_layouts_to_rounding(self):
        for name, layout in (("two", {}), ("sequence", {"mesh__sequence": 2})):
            run(name, ranks=2, **PREVIEWS, **layout)
            for one, other in zip(previews("shown"), previews(name), strict=True):
                self.assertEqual(one["step"], other["step"])
                for reward in REWARDS:
                    self.assertAlmostEqual(one["preview_" + reward], other["preview_" + reward], delta=2e-3 * max(1, abs(one["preview_" + reward])), msg=f"{name}, step {one['step']}")
            # Both ranks decode and score, also where they share a video's sampling.
            scorers = set(re.findall(rb'"rank":(\d)', b"".join(path.read_bytes() for path in (FOLDER / name / "optimize/previews").glob("*.h5"))))
            self.assertEqual(scorers, {b"0", b"1"}, name)
            self.assertFalse((FOLDER / name / "optimize/previews/latents").exists())

    def test_a_second_start_does_nothing(self):
        before = {path: path.stat().st_mtime_ns for path in (FOLDER / "shown/optimize").rglob("*") if path.is_file()}
        self.assertIn("finished earlier", run("shown", **PREVIEWS))
        self.assertEqual({path: path.stat().st_mtime_ns for path in (FOLDER / "shown/optimize").rglob("*") if path.is_file()}, before)


class Restarts(unittest.TestCase):
    def broken_off(self, name, number, when, ranks=0):
        """Starts `optimize` and sends the signal once when() is true; returns the exit code."""
        shutil.copytree(FOLDER / "selected", FOLDER / name, copy_function=shutil.copy2)
        process = start(words("optimize", FOLDER / name, **PREVIEWS, optimize__keep_best="identity"), ranks)
        deadline = time.monotonic() + LIMIT
        while not when() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        elif process.poll() is None:
            os.kill(process.pid, number)
        return finish(process)[0]

    def check(self, name, made):
        run(name, **PREVIEWS, optimize__keep_best="identity")
        self.assertEqual(figures(name), figures("shown"))
        for path, changed in made.items():
            self.assertEqual(path.stat().st_mtime_ns, changed, f"{path.name} was made twice")
        self.assertEqual(stage(name)["result"], stage("best-identity")["result"])
        self.assertFalse(list((FOLDER / name / "optimize/previews/stopped").glob("*.h5")))

    def test_what_the_log_holds_is_not_made_again(self):
        for number, step in ((signal.SIGKILL, 2), (signal.SIGTERM, 4)):
            name = f"broken-{number}-{step}"
            code = self.broken_off(name, number, lambda: step in [line["step"] for line in previews(name)])
            self.assertIn(code, (75, 0) if number == signal.SIGTERM else (-9, 0))
            made = {FOLDER / name / "optimize" / video["file"]: 0 for line in previews(name) for video in line["previews"]}
            self.check(name, {path: path.stat().st_mtime_ns for path in made})

    def test_a_stop_in_the_middle_of_a_step_s_previews_keeps_the_finished_ones(self):
        for step in (2, 5):
            name = f"stopped-{step}"
            folder = FOLDER / name / "optimize/previews"
            # The first video of the step has its scores; the second is asked to stop.
            before = DUE.index(step) * 2
            self.assertIn(self.broken_off(name, signal.SIGTERM, lambda: len(list(folder.glob("segment-*.h5"))) > before), (75, 0))
            # Whole videos: those of which the scores are there.
            first = folder / f"step-{step:06d}-prompt-1.mp4"
            self.check(name, {first: first.stat().st_mtime_ns})


class KeepBest(unittest.TestCase):
    def test_the_result_is_the_adapter_of_the_step_that_the_log_says(self):
        rounds = previews("shown")
        chosen = {}
        for rule in RULES:
            name = f"best-{rule}"
            self.assertEqual(figures(name), figures("shown"))
            taken = [path for path in stage(name)["files"] if path.endswith(".h5")]
            self.assertEqual(len(taken), 1)
            step = int(taken[0].removeprefix("optimize/best/checkpoint-").removesuffix(".h5"))
            self.assertEqual([path.name for path in (FOLDER / name / "optimize/best").iterdir()], [f"checkpoint-{step:06d}.h5"])
            chosen[rule] = step
            if rule != "sum":
                self.assertEqual(step, max(rounds, key=lambda line: line["preview_" + rule])["step"])
        # Not worse in all three than any other step.
        winner = next(line for line in rounds if line["step"] == chosen["sum"])
        for line in rounds:
            self.assertFalse(all(line["preview_" + reward] > winner["preview_" + reward] for reward in REWARDS))
        # Training up to that step alone ends in the same adapter, which is the one that is exported.
        for rule, step in chosen.items():
            if step == 0:
                self.assertEqual(stage(f"best-{rule}")["result"], stage("selected", "reconstruct")["result"])
                continue
            alone = f"alone-{step}"
            run(alone, optimize__pairs_seen=4 * step)
            self.assertEqual(stage(f"best-{rule}")["result"], stage(alone)["result"], rule)
            run(f"best-{rule}", verb="export", **PREVIEWS, optimize__keep_best=rule)
            run(alone, verb="export", optimize__pairs_seen=4 * step)
            self.assertEqual((FOLDER / f"best-{rule}/adapter/comfyui.safetensors").read_bytes(), (FOLDER / alone / "adapter/comfyui.safetensors").read_bytes())
        self.assertGreater(len(set(chosen.values())), 1, "the rules should not all choose one step, or this test says little")

    def test_the_report_shows_curves_videos_and_the_choice(self):
        settings = dict(PREVIEWS, optimize__keep_best="dynamics")
        text = run("reported", **settings)
        for verb in ("evaluate", "export", "report"):
            run("reported", verb=verb, **settings)
        step = int(re.search(r"the adapter of step (\d+) of 5 is the result: the mean dynamics of its previews", text).group(1))
        self.assertEqual(step, max(previews("reported"), key=lambda line: line["preview_dynamics"])["step"])
        page = (FOLDER / "reported/report.html").read_text()
        for what in ("Identity of previews", "Dynamics of previews", "Semantics of previews", "Show previews of 4 steps", f"The result is the adapter of step {step}", "highest of 4"):
            self.assertIn(what, page)

    def test_without_previews_it_is_refused(self):
        code, text = finish(start(words("optimize", FOLDER / "shown", optimize__keep_best="identity")))
        self.assertEqual(code, 2, text)
        self.assertIn("optimize.previews.every", text)


class Speed(unittest.TestCase):
    def test_every_step_says_how_fast_it_was(self):
        config = json.loads((MODEL / "transformer/config.json").read_text())
        vae = json.loads((MODEL / "vae/config.json").read_text())
        patch, ratio = config["patch_size"], vae.get("spatial_compression_ratio", 8)
        video = ((5 - 1) // vae.get("temporal_compression_ratio", 4) + 1) // config["patch_size_t"] * (64 // ratio // patch) * (96 // ratio // patch)
        for name, where, batch in (("plain", "optimize", 4), ("selected", "reconstruct", 2)):
            for line in lines(name, where):
                tokens, flops = line["tokens_per_second"] * line["step_seconds"], line["flops_per_second"] * line["step_seconds"]
                self.assertAlmostEqual(tokens, round(tokens), places=3)
                self.assertGreater(flops, tokens)
                self.assertNotIn("mfu", line)  # a CPU's peak is not asked for
                if where == "optimize":
                    # Winner and loser of each pair, with 1 to 64 tokens of text.
                    self.assertTrue(2 * batch * (video + 1) <= tokens <= 2 * batch * (video + 64), tokens)
                else:
                    self.assertGreater(tokens, batch)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
