#!/usr/bin/env python3
"""The whole pipeline as a user runs it, on one to four ranks: equal results, restarts, kills, bad input. Standard library only.

Usage: pipeline_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
More kills: MAGICID_KILLS=200 pipeline_test.py build/cpu/bin/magicid . Kills.test_a_killed_run_started_again_equals_an_unbroken_one
On a busy machine: MAGICID_TEST_LIMIT=600 lets a single start take ten minutes
"""
import functools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from adapter_files import largest_difference
import pictures
from launcher import Launcher, dotted, flags
from opened_files import OpenedFiles

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-pipeline-"))
MODEL = FOLDER / "model"
LIMIT = float(os.environ.get("MAGICID_TEST_LIMIT", "120"))  # seconds: a rank that hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)
start, finish, magicid = LAUNCHER.start, LAUNCHER.finish, LAUNCHER.outcome
# Measuring takes longer than everything else: faces are looked for in two frames of each video, motion between three.
SMALL = {"video.frames": 5, "rewards.flow_updates": 1, "rewards.flow_rate": 4, "rewards.face_frames": 2, "generate.steps": 2,
         "optimize.pairs_seen": 12, "optimize.global_batch": 4, "reconstruct.steps": 6,
         "reconstruct.global_batch": 4, "optimize.checkpoint_every": 1, "reconstruct.checkpoint_every": 2}


def words(verb, output, **changes):
    settings = dict(SMALL, output=output, prompts=FOLDER / "prompts.txt")
    settings["model.folder"] = MODEL
    return [verb, PROJECT / "configs/tiny.yaml", *flags({**settings, **dotted(changes)})]


def run(name, ranks=1, verb="run", **changes):
    return LAUNCHER.run(words(verb, FOLDER / name, **changes), ranks)


def adapter(name):
    return FOLDER / name / "adapter/kohya.safetensors"


def metrics(name, stage):
    return [json.loads(line) for line in (FOLDER / name / stage / "metrics.jsonl").read_text().splitlines()]


def stage_results(name):
    stages = json.loads((FOLDER / name / "manifest.json").read_text())["stages"]
    return {stage: record.get("result") for stage, record in stages.items()}


def ran(text):
    """Stages that did not find their results current."""
    return [s for s in ("prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate", "export", "report") if f"{s}: finished earlier" not in text]


def setUpModule():
    (FOLDER / "prompts.txt").write_text("a {subject} walks\na {subject} waves\n")
    code, text = magicid(["init-model", "--size", "tiny", "--seed", "1", str(MODEL)])
    assert code == 0, text
    global duration_of_a_run
    started = time.monotonic()
    run("two", ranks=2)
    duration_of_a_run = time.monotonic() - started


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


@functools.cache
def stage_1():
    """A run directory to copy, of which two ranks finished the stages up to the first adapter."""
    for verb in ("prepare", "reconstruct"):
        run("stage1", ranks=2, verb=verb)
    return FOLDER / "stage1"


@functools.cache
def one_rank():
    """How often a whole run on one rank opened the transformer's weights."""
    file = MODEL / "transformer/diffusion_pytorch_model.safetensors"
    with OpenedFiles(file.parent) as opened:
        run("ranks-1")
    return opened.counts.get(file, 0)


class Pipeline(unittest.TestCase):
    def test_a_whole_run_loads_the_transformer_once_where_it_fits(self):
        # To tell which model it is, to know its size (preflight, loading), to look at every tensor's shape (preflight), and once to load it.
        self.assertEqual(one_rank(), 5)

    def test_what_does_not_fit_is_let_go_and_the_results_stay(self):
        one_rank()
        text = run("small-memory", model__resident_memory=1e-6)
        self.assertRegex(text, r"memory: \S*transformer in Float on cpu \([\d.]+ GB\) is let go for \S*vae in Float on cpu")
        self.assertEqual(adapter("small-memory").read_bytes(), adapter("ranks-1").read_bytes())
        # The report shows when it was made.
        self.assertEqual({**stage_results("small-memory"), "report": ""}, {**stage_results("ranks-1"), "report": ""})

    def test_every_rank_count_trains_the_same_adapter_to_rounding(self):
        for ranks in (1, 3, 4):
            if ranks == 1:
                one_rank()
            else:
                run(f"ranks-{ranks}", ranks=ranks)
            worst = largest_difference(adapter(f"ranks-{ranks}"), adapter("two"))
            # Nine AdamW updates lie between: where a gradient is nearly zero its sign, and so the update, hangs on rounding.
            self.assertLess(worst, 0.02, f"{ranks} ranks")
            losses = [abs(a["loss"] - b["loss"]) for a, b in zip(metrics("two", "optimize"), metrics(f"ranks-{ranks}", "optimize"))]
            self.assertLess(max(losses), 1e-4)

    def test_shared_sequences_and_spread_pairs_train_the_same_adapter_to_rounding(self):
        for name, layout in (("sequence", {"mesh__sequence": 2, "model__recompute": "attention_kept"}), ("pair", {"mesh__pair": 2, "model__recompute": "full:1,attention_kept"})):
            run(name, ranks=2, **layout)
            self.assertEqual(metrics(name, "optimize")[0]["loss"], 0.6931471805599453)
            worst = largest_difference(adapter(name), adapter("two"))
            self.assertLess(worst, 0.02, name)
            losses = [abs(a["loss"] - b["loss"]) for a, b in zip(metrics("two", "optimize"), metrics(name, "optimize"))]
            self.assertLess(max(losses), 1e-4)

    def test_from_the_same_stage_1_every_rank_count_gives_the_same_candidates_scores_and_pairs(self):
        for ranks in (1, 3, 4):
            name = f"from-stage1-{ranks}"
            shutil.copytree(stage_1(), FOLDER / name)
            for verb in ("generate", "score", "select"):
                run(name, ranks=ranks, verb=verb)
            for stage in ("generate", "score", "select"):
                self.assertEqual(stage_results(name)[stage], stage_results("two")[stage], f"{stage} on {ranks} ranks")

    def test_the_same_layout_gives_the_same_bytes(self):
        run("again", ranks=2)
        self.assertEqual(adapter("again").read_bytes(), adapter("two").read_bytes())
        for name in ("report.html", "evaluation.json", "adapter/diffusers.safetensors", "adapter/comfyui.safetensors", "adapter/native.h5"):
            self.assertGreater((FOLDER / "again" / name).stat().st_size, 100, name)

    def test_the_first_preference_loss_is_log_two_and_every_step_has_a_line(self):
        lines = metrics("two", "optimize")
        self.assertEqual(lines[0]["loss"], 0.6931471805599453)
        self.assertEqual([line["step"] for line in lines], [1, 2, 3])
        self.assertEqual([line["step"] for line in metrics("two", "reconstruct")], list(range(1, 7)))
        self.assertTrue(list((FOLDER / "two/optimize").glob("events.out.tfevents.*")))

    def test_a_second_start_does_nothing(self):
        before = {p: p.stat().st_mtime_ns for p in (FOLDER / "two").rglob("*.h5")}
        self.assertEqual(ran(run("two", ranks=2)), [])
        self.assertEqual({p: p.stat().st_mtime_ns for p in (FOLDER / "two").rglob("*.h5")}, before)

    def test_a_change_reruns_what_depends_on_it_and_nothing_before(self):
        shutil.copytree(FOLDER / "two", FOLDER / "changed")
        self.assertEqual(ran(run("changed", ranks=2, optimize__beta=50)), ["optimize", "evaluate", "export", "report"])
        (FOLDER / "more.txt").write_text("a {subject} walks\na {subject} waves\na {subject} sings\n")
        text = run("changed", ranks=2, optimize__beta=50, prompts=FOLDER / "more.txt")
        # Five of the new prompt are made; those of the other two, and the still, are found by key.
        self.assertRegex(text, r"generate 11/16")
        self.assertTrue(list((FOLDER / "changed/previous").iterdir()))

    def test_a_candidate_lost_before_the_merge_is_made_again(self):
        shutil.copytree(FOLDER / "two", FOLDER / "lost-candidate", copy_function=shutil.copy2)
        folder = FOLDER / "lost-candidate/candidates"
        shutil.rmtree(folder)
        process = start(words("generate", FOLDER / "lost-candidate"))
        deadline = time.monotonic() + LIMIT
        while not (segments := list(folder.glob("segment-*.h5"))) and time.monotonic() < deadline:
            time.sleep(0.002)
        # After it was found that there is none of it, before all are merged.
        with segments[0].open("r+b") as file:
            file.seek(-20, os.SEEK_END)
            byte = file.read(1)
            file.seek(-20, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        code, text = finish(process)
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"warning .*candidates: 1 of 11 candidates were finished and cannot be read back .*made again")
        self.assertEqual(len(list(folder.glob("*.damaged-1"))), 1)
        run("lost-candidate", verb="score")
        self.assertEqual(stage_results("lost-candidate")["score"], stage_results("two")["score"])

    def test_stages_one_by_one_equal_run(self):
        shutil.copytree(stage_1(), FOLDER / "stages")
        for verb in ("generate", "score", "select", "optimize", "evaluate", "export", "report"):
            run("stages", ranks=2, verb=verb)
        self.assertEqual(adapter("stages").read_bytes(), adapter("two").read_bytes())
        code, text = magicid(words("optimize", FOLDER / "empty-start"))
        self.assertEqual(code, 2)
        self.assertIn("magicid prepare", text)


def tree(name, *files):
    return {file: (FOLDER / name / file).read_bytes() for file in files}


class Keys(unittest.TestCase):
    """What a result is a function of is what its key or its stage's fingerprint holds: no more, no less."""

    def test_stills_and_scores_follow_the_face_the_detector_and_the_prompt(self):
        photos, cascade = FOLDER / "group", FOLDER / "cascade.xml"
        photos.mkdir()
        photo = pictures.read(PROJECT / "datasets/reference/astronaut.png")
        pictures.write(photos / "two.png", pictures.side_by_side(photo, photo))
        (photos / "two.txt").write_text("a portrait of {subject}\n")
        found = [f for f in pathlib.Path("/usr").glob("share/[oO]pen[cC][vV]*/haarcascades/haarcascade_frontalface_alt2.xml")]
        given = pathlib.Path(os.environ.get("MAGICID_HAARCASCADES", found[0].parent if found else "")) / "haarcascade_frontalface_alt2.xml"
        shutil.copy(given, cascade)
        settings = {"subject__references": photos, "rewards__face_detector__face_index": 0, "rewards__face_detector__file": cascade}

        def until_scores(name, **changes):
            settings.update(changes)
            return "".join(run(name, ranks=2, verb=verb, **settings) for verb in ("prepare", "reconstruct", "generate", "score"))

        def stills(name):
            return {p.name: p.read_bytes() for p in (FOLDER / name / "previews").glob("V_id-*.mp4")}

        until_scores("faces")
        first = stills("faces")
        self.assertEqual(len(first), 1)
        until_scores("faces", rewards__face_detector__face_index=1)
        until_scores("other-face")
        new = stills("other-face")
        self.assertNotEqual(list(first.values()), list(new.values()), "the two faces give one still: this test says nothing")
        self.assertEqual(stills("faces"), {**first, **new})
        self.assertEqual(stage_results("faces")["score"], stage_results("other-face")["score"])

        # Where a file lies does not count; what it holds does.
        moved = FOLDER / "moved.xml"
        cascade.rename(moved)
        text = until_scores("faces", rewards__face_detector__file=moved)
        self.assertEqual(len(re.findall("finished earlier", text)), 4, text)
        moved.write_text(moved.read_text() + "<!-- another file -->\n")
        text = until_scores("faces")
        self.assertEqual([stage for stage in ran(text) if stage in ("prepare", "reconstruct", "generate", "score")], ["prepare", "score"], text)
        self.assertRegex(text, "inputs.face_detector.contents: ")
        self.assertRegex(text, "inputs.scorer.face_detector.contents: ")
        self.assertRegex(text, "score 11/11")

        # The portrait's prompt, which V_id is scored against, is no part of the picture: the photo has a caption of its own.
        before = stage_results("faces")
        text = until_scores("faces", reconstruct__prompt="a drawing of {subject}")
        after = stage_results("faces")
        self.assertEqual(before["generate"], after["generate"])
        self.assertRegex(text, "score 11/11")
        self.assertNotEqual(before["score"], after["score"])

    def test_a_stage_does_not_stand_on_a_stale_one(self):
        shutil.copytree(FOLDER / "two", FOLDER / "stale", copy_function=shutil.copy2)
        (FOLDER / "reordered.txt").write_text("a {subject} waves\na {subject} walks\n")
        (FOLDER / "shorter.txt").write_text("a {subject} waves\n")
        kept = tree("stale", "config.yaml", "manifest.json", "pairs.h5", "prepared.h5")
        before_optimize = (("generate", 2, {"prompts": FOLDER / "reordered.txt"}), ("prepare", 0, {"prompts": FOLDER / "shorter.txt"}),
                           ("score", 0, {"rewards__flow_rate": 2}), ("generate", 0, {"generate__steps": 3}), ("select", 0, {"select__pairs": "identity"}),
                           ("reconstruct", 2, {"reconstruct__steps": 5}))
        for stage, ranks, changes in before_optimize:
            code, text = magicid(words("optimize", FOLDER / "stale", **changes), ranks)
            self.assertEqual(code, 2, text)
            self.assertIn(f"stage {stage} is not up to date with this configuration", text)
            self.assertIn(f"Run `magicid {stage}` or `magicid run`", text)
            self.assertEqual(tree("stale", *kept), kept, "something was recorded or moved")
        others = (("reconstruct", "prepare", {"subject__trigger": "xyz"}), ("generate", "reconstruct", {"adapter__lora_rank": 4}),
                  ("select", "score", {"rewards__flow_updates": 2}), ("evaluate", "optimize", {"optimize__beta": 7}), ("export", "optimize", {"optimize__beta": 7}),
                  ("report", "select", {"select__pairs": "identity"}), ("report", "evaluate", {"evaluate__videos_per_prompt": 2}))
        for verb, stage, changes in others:
            code, text = magicid(words(verb, FOLDER / "stale", **changes))
            self.assertEqual(code, 2, text)
            self.assertIn(f"stage {stage} is not up to date with this configuration", text)
            self.assertEqual(tree("stale", *kept), kept, "something was recorded or moved")
        self.assertEqual(ran(run("stale", ranks=2)), [])

    def test_a_start_reads_each_large_file_once_on_any_number_of_ranks(self):
        networks = ("transformer/diffusion_pytorch_model", "text_encoder/model", "rewards/arcface/model", "rewards/raft/model", "rewards/clip/model")
        weights = [MODEL / f"{name}.safetensors" for name in networks]
        photo = PROJECT / "datasets/reference/astronaut.png"
        for verb, stages in (("run", []), ("optimize", ["optimize"])):
            with OpenedFiles(*(file.parent for file in weights), photo.parent) as opened:
                text = run("two", ranks=2, verb=verb)
            self.assertEqual([stage for stage in ran(text) if stage in stages or verb == "run"], [], text)
            self.assertEqual({file: opened.counts.get(file, 0) for file in [*weights, photo]}, {file: 1 for file in [*weights, photo]}, verb)


class Arms(unittest.TestCase):
    """Several settings on one upstream: stages taken over from another run, and runs evaluated and compared side by side."""

    def test_a_run_takes_over_the_stages_that_it_shares(self):
        shutil.copytree(FOLDER / "two", FOLDER / "alone", copy_function=shutil.copy2)
        run("alone", ranks=2, select__pairs="identity")
        for ranks in (1, 2):
            name = f"arm-{ranks}"
            text = run(name, ranks=ranks, reuse=FOLDER / "two", select__pairs="identity")
            self.assertEqual(re.findall(r"(\w+): taken over from", text), ["prepare", "reconstruct", "generate", "score"], text)
            self.assertRegex(text, r"select: not taken over from [\s\S]*select.pairs: \"identity\+dynamic\" -> \"identity\"")
            # Base and stage 1 were evaluated there: only the new adapter's videos are made.
            self.assertRegex(text, r"evaluate, videos 0/2")
            self.assertRegex(text, r"evaluate, figures 4/6")
            self.assertTrue(os.path.samefile(FOLDER / name / "reconstruct/checkpoint-000006.h5", FOLDER / "two/reconstruct/checkpoint-000006.h5"))
            self.assertFalse(os.path.samefile(FOLDER / name / "reconstruct/metrics.jsonl", FOLDER / "two/reconstruct/metrics.jsonl"))
            self.assertEqual(stage_results(name)["select"], stage_results("alone")["select"])
            self.assertEqual(ran(run(name, ranks=ranks, reuse=FOLDER / "two", select__pairs="identity")), [])
        self.assertEqual(adapter("arm-2").read_bytes(), adapter("alone").read_bytes())
        # What the arm goes on to do leaves the source as it was.
        self.assertEqual(ran(run("two", ranks=2)), [])

    def test_another_upstream_is_not_taken_over(self):
        text = run("upstream", ranks=1, reuse=FOLDER / "two", reconstruct__steps=5)
        self.assertEqual(re.findall(r"(\w+): taken over from", text), ["prepare"], text)
        self.assertRegex(text, r"reconstruct: not taken over from [\s\S]*reconstruct.steps: 6 -> 5")
        # The initial model's videos do not depend on stage 1, nor do the stills: they are found by key.
        self.assertRegex(text, r"generate 5/11")

    def test_a_damaged_file_is_not_taken_over(self):
        source = FOLDER / "damaged"
        shutil.copytree(FOLDER / "two", source, copy_function=shutil.copy2)
        path, times = source / "prepared.h5", (source / "prepared.h5").stat()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        text = run("from-damaged", ranks=2, verb="prepare", reuse=source)
        self.assertRegex(text, r"prepare: not taken over from .*prepared.h5 is damaged")
        self.assertEqual(stage_results("from-damaged")["prepare"], stage_results("two")["prepare"])
        self.assertTrue(path.exists())
        shutil.rmtree(source)
        text = run("from-damaged", ranks=2, verb="reconstruct", reuse=source)
        self.assertIn("is gone", text)
        self.assertEqual(stage_results("from-damaged")["reconstruct"], stage_results("two")["reconstruct"])

    def test_killed_while_it_takes_over_it_can_go_on(self):
        draw = random.Random(5)
        for turn in range(4):
            name = f"killed-arm-{turn}"
            process, deadline = start(words("run", FOLDER / name, reuse=FOLDER / "two"), ranks=2), time.monotonic() + LIMIT
            while not (FOLDER / name / "manifest.json").exists() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.3))
            kill(process)
            text = run(name, ranks=2, reuse=FOLDER / "two")
            for stage in ("prepare", "reconstruct", "generate", "score", "select"):
                self.assertRegex(text, f"{stage}: (taken over|finished earlier)")
                self.assertEqual(stage_results(name)[stage], stage_results("two")[stage], stage)
            self.assertEqual(adapter(name).read_bytes(), adapter("two").read_bytes())

    def test_replicas_beyond_the_batch_of_stage_1_wait(self):
        shutil.copytree(stage_1(), FOLDER / "waiting")
        text = run("waiting", ranks=2, verb="reconstruct", reconstruct__global_batch=1)
        self.assertIn("reconstruct: global_batch is 1 but 2 replicas take part: 1 of them have nothing to do here", text)
        self.assertEqual(len(metrics("waiting", "reconstruct")), SMALL["reconstruct.steps"])

    def test_pairs_that_are_won_are_told_of(self):
        shutil.copytree(FOLDER / "two", FOLDER / "won")
        text = run("won", verb="optimize", optimize__beta=1e6, optimize__learning_rate=1e-2, optimize__pairs_seen=160)
        self.assertRegex(text, r"warning optimize: from step \d+ on the gradient factor is below a tenth of its start")
        self.assertEqual(text.count("gradient factor is below"), 1)

    def test_other_runs_stand_in_the_same_evaluation(self):
        shutil.copytree(FOLDER / "two", FOLDER / "table", copy_function=shutil.copy2)
        run("other", ranks=2, reuse=FOLDER / "two", optimize__beta=50, optimize__share_dynamic=1)
        text = run("table", ranks=2, evaluate__runs=f"{{all dynamic: {FOLDER / 'other'}}}")
        self.assertRegex(text, r"evaluate, videos 0/2")
        self.assertRegex(text, r"evaluate, figures 6/8")
        before, after, other = (json.loads((FOLDER / name / "evaluation.json").read_text()) for name in ("two", "table", "other"))
        self.assertEqual([arm["arm"] for arm in after["arms"]], ["base", "stage1", "all dynamic", "hpo"])
        videos = {(v["arm"], v["prompt"], v["sample"]): v for v in after["videos"]}
        for video in before["videos"]:
            self.assertEqual(videos[video["arm"], video["prompt"], video["sample"]], video)
        # The same adapter, prompts and noise: the same figures as in its own run, whichever run makes the video.
        for video in other["videos"]:
            if video["arm"] == "hpo":
                self.assertEqual(videos["all dynamic", video["prompt"], video["sample"]]["metrics"], video["metrics"])
        self.assertIn("all dynamic", (FOLDER / "table/report.html").read_text())
        self.assertTrue(all((FOLDER / "table/previews" / v["preview"]).exists() for v in after["videos"]))

        code, text = magicid(["compare", str(FOLDER / "table"), "--out", str(FOLDER / "differences")])
        self.assertEqual(code, 0, text)
        rows = json.loads((FOLDER / "differences.json").read_text())["comparisons"]
        self.assertEqual({row["arm"] for row in rows}, {"base", "all dynamic", "hpo"})
        mean = {arm["arm"]: arm["metrics"]["dynamic_degree"]["mean"] for arm in after["arms"]}
        for row in rows:
            if row["metric"] == "dynamic_degree":
                self.assertAlmostEqual(row["difference"]["mean"], mean[row["arm"]] - mean["stage1"], places=9)
        self.assertIn("| hpo | dynamic_degree |", (FOLDER / "differences.md").read_text())
        code, text = magicid(["compare", str(FOLDER / "other"), "--arm", "hpo", "--baseline", "hpo", "--baseline-runs", str(FOLDER / "two")])
        self.assertEqual(code, 0, text)
        self.assertIn("2 |", text)

        for changes, message in (({"evaluate__runs": f"{{x: {FOLDER / 'nowhere'}}}"}, "no run directory"), ({"evaluate__runs": f"{{hpo: {FOLDER / 'other'}}}"}, "arm of this run"),
                                 ({"evaluate__runs": f"{{x: {FOLDER / 'other'}}}", "subject__trigger": "xyz"}, "sks woman"), ({"reuse": FOLDER / "table"}, "own directory")):
            code, text = magicid(words("evaluate" if "subject__trigger" not in changes else "run", FOLDER / "table", **changes))
            self.assertEqual(code, 2, text)
            self.assertIn(message, text)
        code, text = magicid(words("prepare", FOLDER / "new", reuse=FOLDER / "nowhere"))
        self.assertEqual(code, 2, text)
        self.assertIn("no run directory", text)
        self.assertFalse((FOLDER / "new").exists())

    def test_still_losers_are_made_once_on_any_number_of_ranks(self):
        results, adapters = [], {}
        run("moving", ranks=1, reuse=FOLDER / "two", select__identity_pairs__loser="video", select__pairs="identity")
        for ranks in (1, 2):
            name = f"still-{ranks}"
            settings = dict(ranks=ranks, reuse=FOLDER / "two", select__identity_pairs__loser="still", select__pairs="identity")
            text = run(name, **settings)
            made = {p: p.stat().st_mtime_ns for p in (FOLDER / name / "candidates").glob("segment-*.h5")}
            self.assertTrue(made)
            self.assertRegex(text, rf"still losers {len(made)}/{len(made)}")
            self.assertEqual(metrics(name, "optimize")[0]["loss"], 0.6931471805599453)
            adapters[ranks] = adapter(name).read_bytes()
            text = run(name, **dict(settings, optimize__beta=7))
            self.assertIn("optimize", ran(text))
            self.assertEqual({p: p.stat().st_mtime_ns for p in (FOLDER / name / "candidates").glob("segment-*.h5")}, made)
            results.append((sorted(p.name for p in made), stage_results(name)["select"]))
        self.assertEqual(results[0], results[1])
        # The same pairs, the same seed, one rank each: what differs is what the loser is.
        self.assertNotEqual(adapters[1], adapter("moving").read_bytes())

    def test_prior_preservation_makes_its_class_samples_once(self):
        settings = {"reconstruct__prior_preservation__weight": 1, "reconstruct__prior_preservation__samples": 3}
        for ranks in (1, 2):
            name = f"prior-{ranks}"
            for verb in ("prepare", "reconstruct"):
                run(name, ranks=ranks, verb=verb, **settings)
            lines = metrics(name, "reconstruct")
            self.assertTrue(all(abs(line["loss"] - line["photo_error"] - line["prior_error"]) < 1e-6 for line in lines))
            made = {p.name: p.stat().st_mtime_ns for p in (FOLDER / name / "candidates").glob("segment-*.h5")}
            self.assertEqual(len(made), 3)
            text = run(name, ranks=ranks, verb="reconstruct", **dict(settings, reconstruct__prior_preservation__weight=0.5))
            self.assertIn("class samples 3/3", text)
            self.assertEqual({p.name: p.stat().st_mtime_ns for p in (FOLDER / name / "candidates").glob("segment-*.h5")}, made)
        first, second = (metrics(f"prior-{ranks}", "reconstruct") for ranks in (1, 2))
        self.assertLess(max(abs(a["prior_error"] - b["prior_error"]) for a, b in zip(first, second)), 1e-3)
        # Clips of the class are the initial model's candidates: stage 1 makes them, generate finds them.
        video = {"reconstruct__prior_preservation__kind": "video", "reconstruct__prior_preservation__samples": 2, "reconstruct__prior_preservation__weight": 1}
        for verb in ("prepare", "reconstruct"):
            run("prior-video", verb=verb, **video)
        self.assertRegex(run("prior-video", verb="generate", **video), r"generate 2/11")


class Adapters(unittest.TestCase):
    """The files that a run exports, looked at, merged, and taken as the beginning of another run."""

    FILE = FOLDER / "two/adapter/diffusers.safetensors"

    def shown(self, file, *more):
        code, text = magicid(["adapter", str(file), "--json", *more])
        self.assertEqual(code, 0, text)
        return json.loads(text[text.index("{"):text.rindex("}") + 1]), text

    def test_headers_say_what_it_is_and_how_it_was_made(self):
        for layout in ("diffusers", "kohya", "comfyui"):
            header = self.shown(self.FILE.with_name(f"{layout}.safetensors"))[0]["metadata"]
            model = json.loads((FOLDER / "two/manifest.json").read_text())["identity"]["model"]
            expected = {"magicid_trigger": "sks", "magicid_class": "woman", "magicid_lora_rank": "8", "magicid_alpha": "8", "magicid_reconstruct_steps": "6",
                        "magicid_optimize_steps": "3", "magicid_model": model}
            self.assertEqual({key: header.get(key) for key in expected}, expected)
            self.assertGreater(int(header["magicid_pairs"]), 0)
            self.assertNotIn("magicid_licence", header)
            if layout != "diffusers":
                self.assertEqual((header["ss_network_dim"], header["ss_network_alpha"], header["modelspec.architecture"], header["modelspec.trigger_phrase"]),
                                 ("8", "8", "hunyuan-video/lora", "sks"))
        shutil.copytree(FOLDER / "two", FOLDER / "licensed", copy_function=shutil.copy2)
        self.assertEqual(ran(run("licensed", verb="export")), [s for s in ran("") if s != "export"], "an unset licence makes nothing anew")
        text = run("licensed", verb="export", export__licence="CC BY 4.0")
        self.assertIn("licence", text)
        header = self.shown(FOLDER / "licensed/adapter/kohya.safetensors")[0]["metadata"]
        self.assertEqual((header["magicid_licence"], header["modelspec.license"]), ("CC BY 4.0", "CC BY 4.0"))
        self.assertEqual(largest_difference(FOLDER / "licensed/adapter/kohya.safetensors", adapter("two")), 0)

    def test_every_layout_and_the_native_file_show_the_same_norms(self):
        found, _ = self.shown(self.FILE, "--model", str(MODEL))
        self.assertEqual((found["layout"], found["warnings"]), ("diffusers (PEFT)", []))
        for name in ("kohya.safetensors", "comfyui.safetensors", "native.h5"):
            alone, _ = self.shown(self.FILE.with_name(name))
            self.assertEqual(alone["parameters"], found["parameters"])
            self.assertEqual([m["name"] for m in alone["modules"]], [m["name"] for m in found["modules"]])
            self.assertAlmostEqual(alone["norm"], found["norm"], delta=1e-6 * found["norm"])
        self.assertTrue(all(0 < b["relative"] == b["norm"] / b["weight_norm"] for b in found["blocks"]))
        code, text = magicid(["adapter", str(self.FILE), "--model", str(MODEL)])
        self.assertEqual(code, 0, text)
        for part in ("layout      diffusers (PEFT)", "rank        8", "magicid_trigger  sks", "|BA|/|W|", "single_blocks.0", "all "):
            self.assertIn(part, text)

    def test_a_merged_transformer_samples_as_the_adapter_does(self):
        code, text = magicid(["merge", "--model", str(MODEL), "--adapter", str(self.FILE), "--strength", "0.5", str(FOLDER / "merged")])
        self.assertEqual(code, 0, text)
        whole = FOLDER / "merged-model"
        whole.mkdir()
        for part in MODEL.iterdir():
            (whole / part.name).symlink_to(part if part.name != "transformer" else FOLDER / "merged")
        latents = {}
        for name, model, adapters in (("adapter", MODEL, ["--adapter", str(self.FILE), "--adapter-strength", "0.5"]), ("merged", whole, []), ("plain", MODEL, [])):
            latents[name] = FOLDER / f"{name}-latents.safetensors"
            code, text = magicid(["sample", "--model", str(model), *adapters, "--prompt", "a sks woman waves", "--height", "32", "--width", "48", "--frames", "5", "--steps", "2",
                                  "--max-length", "64", "--latents-out", str(latents[name]), "--output", str(FOLDER / f"{name}.mp4")])
            self.assertEqual(code, 0, text)
        self.assertLess(largest_difference(latents["merged"], latents["adapter"]), 1e-4)
        self.assertGreater(largest_difference(latents["plain"], latents["adapter"]), 1e-3)
        code, text = magicid(["merge", "--model", str(MODEL), "--adapter", str(self.FILE), str(FOLDER / "merged")])
        self.assertEqual(code, 2, text)
        self.assertIn("holds something already", text)

    def test_training_begins_with_the_file(self):
        shutil.copytree(stage_1(), FOLDER / "continued")
        # A learning rate below every number's rounding: the parameters stay what they were at the beginning.
        settings = dict(adapter__initialize_from=self.FILE, reconstruct__steps=1, reconstruct__learning_rate=1e-60)
        text = run("continued", ranks=2, verb="reconstruct", **settings)
        self.assertIn("begins with", text)
        self.assertEqual(stage_results("continued")["reconstruct"], stage_results("two")["optimize"])
        self.assertIn("finished earlier", run("continued", verb="reconstruct", **settings))
        # Another file of the same name is another beginning; another name is not.
        other = FOLDER / "other-name.safetensors"
        shutil.copy(self.FILE, other)
        self.assertIn("finished earlier", run("continued", verb="reconstruct", **dict(settings, adapter__initialize_from=other)))
        shutil.copy(self.FILE.with_name("kohya.safetensors"), other)
        text = run("continued", verb="reconstruct", **dict(settings, adapter__initialize_from=other))
        self.assertIn("initialize_from", text)
        self.assertIn("reconstruct", ran(text))
        self.assertIn("finished earlier", run("two", ranks=2, verb="reconstruct"), "without it nothing changes")

    def test_what_does_not_fit_is_refused_before_any_work(self):
        for changes, parts in (({"adapter__lora_rank": 4}, ("adapter.lora_rank 4", "adapter.lora_rank: 8")), ({"adapter__targets": "[linear1]"}, ("beside adapter.targets", "linear2")),
                               ({"adapter__initialize_from": FOLDER / "nowhere.safetensors"}, ("nowhere.safetensors",))):
            for ranks in (0, 2):
                code, text = magicid(words("run", FOLDER / "unfit", **{"adapter__initialize_from": self.FILE, **changes}), ranks)
                self.assertEqual(code, 2, text)
                for part in parts:
                    self.assertIn(part, text)
            self.assertFalse((FOLDER / "unfit").exists())


def steps_made(name, stage):
    path = FOLDER / name / stage / "metrics.jsonl"
    return sum(line.endswith("\n") and '"loss"' in line for line in path.read_text().splitlines(keepends=True)) if path.exists() else 0


def steps_lost(stage, made, text):
    """Of the steps made before a kill, those that the start that printed `text` made again."""
    if f"{stage}: finished earlier" in text:
        return 0
    found = re.search(rf"{stage}: goes on after step (\d+) of", text)
    return made - (int(found.group(1)) if found else 0)


def kill(process):
    """SIGKILL to mpirun and every rank at once. A rank has a process group of its own, but mpirun's session."""
    of_session = processes_of_session(process.pid)
    for pid in sorted(of_session, reverse=True):  # ranks before mpirun, which would end them in order
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate()
    return len(of_session)


def processes_of_session(leader):
    return [int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and session_of(int(p.name)) == leader]


def session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


class Kills(unittest.TestCase):
    def test_a_killed_run_started_again_equals_an_unbroken_one(self):
        draw, kills = random.Random(7), int(os.environ.get("MAGICID_KILLS", "10"))
        intervals = {stage: SMALL[f"{stage}.checkpoint_every"] for stage in ("reconstruct", "optimize")}
        worst, training, longest, killed = dict.fromkeys(intervals, 0), 0, 0, 0
        for turn in range(kills):
            name = f"killed-{turn}"
            process = start(words("run", FOLDER / name), ranks=2)
            if turn % 2:  # while it trains, where there is something to lose
                stage, deadline = draw.choice(list(intervals)), time.monotonic() + LIMIT
                while not steps_made(name, stage) and time.monotonic() < deadline:
                    time.sleep(0.005)
                time.sleep(draw.random() * sum(line.get("step_seconds", 0) for line in metrics("two", stage)))
            else:
                time.sleep(draw.uniform(0.05, 1) * duration_of_a_run)
            killed += kill(process)
            made = {stage: steps_made(name, stage) for stage in intervals}
            started = time.monotonic()
            text = run(name, ranks=2)
            longest = max(longest, time.monotonic() - started)
            for stage, interval in intervals.items():
                lost = steps_lost(stage, made[stage], text)
                self.assertLessEqual(lost, interval, f"turn {turn}: {stage} lost {lost} of {made[stage]} steps\n{text}")
                worst[stage] = max(worst[stage], lost)
                training += 0 < made[stage] and f"{stage}: finished earlier" not in text
            self.assertEqual(adapter(name).read_bytes(), adapter("two").read_bytes(), f"turn {turn}")
            self.assertEqual(stage_results(name)["select"], stage_results("two")["select"])
            shutil.rmtree(FOLDER / name)
            if (turn + 1) % 20 == 0:
                print(f"\nafter {turn + 1} kills ({training} while training) steps lost at most: {worst}", flush=True)
        self.assertGreater(killed, 2 * kills, "ranks are not killed")  # mpirun and two ranks, unless the kill comes before they are there
        print(f"\nkills: {kills} ({training} while training), restarts that went on to the same bytes: {kills}, steps lost at most: "
              + ", ".join(f"{worst[stage]} in {stage} (checkpoint_every {intervals[stage]})" for stage in intervals)
              + f"; longest restart {longest:.1f} s", flush=True)

    def test_one_lost_rank_ends_the_job(self):
        process, deadline = start(words("run", FOLDER / "lost"), ranks=3), time.monotonic() + LIMIT
        while not steps_made("lost", "reconstruct") and time.monotonic() < deadline:
            time.sleep(0.005)
        ranks = subprocess.run(["pgrep", "-f", f"output={FOLDER}/lost"], capture_output=True, text=True).stdout.split()
        victims = [int(pid) for pid in ranks if pathlib.Path(f"/proc/{pid}/exe").resolve() == PROGRAM]
        os.kill(max(victims), signal.SIGKILL)
        code, _ = finish(process)
        self.assertNotEqual(code, 0)

    def test_a_stop_request_outside_of_a_loop_gives_the_lock_back(self):
        """Between stages, while photos are encoded or networks loaded: a lock that stays would refuse a restart on another host for three minutes."""
        heard = 0
        for ranks, number, delay in ((0, signal.SIGTERM, 0), (0, signal.SIGINT, 0.3), (0, signal.SIGUSR1, 0.6), (2, signal.SIGTERM, 0), (2, signal.SIGTERM, 0.3)):
            name = f"asked-{ranks}-{number}-{delay}"
            process = start(words("run", FOLDER / name), ranks=ranks)
            lock, deadline = FOLDER / name / "run.lock", time.monotonic() + LIMIT
            while not lock.exists() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(delay)
            # One rank alone hears of it, the one that holds no lock where there are two.
            os.kill(max(pid for pid in processes_of_session(process.pid) if pathlib.Path(f"/proc/{pid}/exe").resolve() == PROGRAM), number)
            code, text = finish(process)
            self.assertEqual(code, 75, f"{name}\n{text}")
            self.assertIn("topped on request", text)
            self.assertFalse(lock.exists(), f"{name}: the lock stayed\n{text}")
            heard += not (FOLDER / name / "reconstruct/metrics.jsonl").exists()
        self.assertGreaterEqual(heard, 3, "most requests were to come before the first loop")
        run(name, ranks=2)
        self.assertEqual(adapter(name).read_bytes(), adapter("two").read_bytes())

    def test_a_stop_request_saves_and_asks_to_be_started_again(self):
        process = start(words("run", FOLDER / "stopped", optimize__pairs_seen=4000), ranks=0)
        deadline = time.monotonic() + LIMIT
        while not (FOLDER / "stopped/optimize/metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        code, text = finish(process)
        self.assertEqual(code, 75, text)
        steps = len(metrics("stopped", "optimize"))
        self.assertTrue(0 < steps < 1000)
        self.assertTrue((FOLDER / f"stopped/optimize/checkpoint-{steps:06d}.h5").exists(), text)


class BadInput(unittest.TestCase):
    def refused(self, *expected, code=2, ranks=0, verb="run", name="refused", **changes):
        found, text = magicid(words(verb, FOLDER / name, **changes), ranks)
        self.assertEqual(found, code, text)
        for part in expected:
            self.assertIn(part, text)

    def test_configuration(self):
        self.refused("unknown key 'optimize.bta'", "beta", optimize__bta=3)
        self.refused("optimize.beta", "number", optimize__beta="much")
        self.refused("optimize.beta", optimize__beta=-1)
        self.refused("frames is 12", "4k+1", video__frames=12)
        self.refused("sequence", ranks=2, mesh__sequence=3)
        self.refused("adapter.targets", "'linear7'", "linear2", verb="prepare", name="targets", adapter__targets="[linear7]")
        self.refused("model.recompute", verb="prepare", name="targets", model__recompute="full:99,none")
        self.assertFalse((FOLDER / "targets").exists(), "refused before anything was made")
        self.refused("evaluate.arms: no arm is named", evaluate__arms="[]")
        self.refused("optimize.global_batch is 1", "2 replicas", "mesh.sequence", ranks=2, name="one-pair", optimize__global_batch=1)
        self.assertEqual([p.name for p in (FOLDER / "one-pair").glob("*") if p.is_dir()], [], "work was done before the refusal")
        bad = FOLDER / "bad.yaml"
        bad.write_text((PROJECT / "configs/tiny.yaml").read_text() + "\nsubjekt: {trigger: x}\n")
        code, text = magicid(["run", str(bad)])
        self.assertEqual(code, 2)
        self.assertRegex(text, r"bad\.yaml:\d+: .*subjekt.*subject")

    def test_prompts(self):
        (FOLDER / "bad.txt").write_text("a {subject} walks\n\na woman walks\n")
        self.refused("bad.txt:3", "{subject}", prompts=FOLDER / "bad.txt")
        (FOLDER / "long.txt").write_text("a {subject} walks " + "and sings " * 80 + "zebra\n")
        self.assertRegex(run("long", verb="prepare", prompts=FOLDER / "long.txt"), r"warning.*zebra")

    def test_a_trigger_that_the_encoders_do_not_read(self):
        behind = "a street " + "and houses " * 60 + "and {subject}\n"
        (FOLDER / "behind.txt").write_text("# later\na {subject} walks\n" + behind)
        says = ("behind.txt:3: the trigger word \"sks\" is not read", "the language model reads 64 tokens", "CLIP reads 75 tokens", "{subject}")
        self.refused(*says, ranks=2, verb="prepare", name="behind", prompts=FOLDER / "behind.txt")
        # Prompts of later stages are told before the first one begins.
        for key in ("evaluate__prompts", "optimize__previews__prompts"):
            self.refused(*says, name="behind", **{key: FOLDER / "behind.txt", "optimize__previews__every": 1, "optimize__previews__count": 2})
        self.refused("missing.txt", "no such file", name="behind", evaluate__prompts=FOLDER / "missing.txt")
        self.assertFalse((FOLDER / "behind/prepared.h5").exists())
        photos = FOLDER / "behind-photos"
        shutil.copytree(PROJECT / "datasets/reference", photos)
        (photos / "astronaut.txt").write_text(behind)
        self.refused("astronaut.txt: the trigger word", verb="prepare", name="behind", subject__references=photos)
        self.refused("reconstruct.prompt: the trigger word", verb="prepare", name="behind", reconstruct__prompt=behind.strip())

    def test_text_in_other_encodings(self):
        photos = FOLDER / "encodings-photos"
        shutil.copytree(PROJECT / "datasets/reference", photos)
        settings = dict(verb="prepare", name="encodings", subject__references=photos)
        (FOLDER / "latin.txt").write_bytes("a {subject} walks\na {subject} in a café\n".encode("cp1252"))
        self.refused("latin.txt:2: is not UTF-8: byte 21 of the line is 0xE9", "iconv", ranks=2, **settings, prompts=FOLDER / "latin.txt")
        (FOLDER / "wide.txt").write_text("a {subject} walks\n", encoding="utf-16")
        self.refused("wide.txt:1: is not UTF-8", "UTF-16", **settings, prompts=FOLDER / "wide.txt")
        caption = photos / "astronaut.txt"
        caption.write_bytes("{subject} in a café".encode("cp1252"))
        self.refused("astronaut.txt:1: is not UTF-8: byte 19", **settings)
        caption.unlink()
        latin = "caf\udce9.png"  # the byte 0xE9, as Python spells it
        shutil.copy(photos / "astronaut.png", photos / latin)
        self.refused("caf\\xE9.png", "not UTF-8", ranks=2, **settings)
        (photos / latin).unlink()
        self.refused("subject.trigger", "not UTF-8", **settings, subject__trigger="Zo\udceb")
        code, text = magicid(["sample", "--model", MODEL, "--prompt", "caf\udce9", "--output", FOLDER / "x.mp4"])
        self.assertEqual(code, 2, text)
        self.assertIn("--prompt: is not UTF-8: byte 4", text)

    def test_a_trigger_in_two_spellings_is_one(self):
        one, two = "Zo\u00eb", "Zoe\u0308"  # an accent in its letter, and behind it
        photos = FOLDER / "spellings-photos"
        shutil.copytree(PROJECT / "datasets/reference", photos)
        (photos / "astronaut.png").rename(photos / f"{two}.png")
        captions = {word: photos / f"{word}.txt" for word in (one, two)}
        settings = dict(verb="prepare", subject__references=photos, prompts=FOLDER / "spelled.txt")
        captions[one].write_text(f"a photo of {one} woman, no photo of anybody else")
        (FOLDER / "spelled.txt").write_text(f"a {{subject}} walks with {two}\n", encoding="utf-8-sig")
        run("spellings", **settings, subject__trigger=two)
        captions[one].unlink()
        captions[two].write_text(f"a photo of {two} woman, no photo of anybody else\n", encoding="utf-8-sig")
        (FOLDER / "spelled.txt").write_text(f"a {{subject}} walks with {one}\n")
        self.assertIn("prepare: finished earlier", run("spellings", **settings, subject__trigger=one))
        captions[two].write_text("another caption")
        self.assertNotIn("prepare: finished earlier", run("spellings", **settings, subject__trigger=one))

    def test_photos(self):
        photos = FOLDER / "photos"
        photos.mkdir()
        self.refused("photos", subject__references=photos)
        (photos / "torn.png").write_bytes((PROJECT / "datasets/reference/astronaut.png").read_bytes()[:5000])
        self.refused("torn.png", ranks=2, subject__references=photos)

    def test_weights(self):
        model = FOLDER / "broken-model"
        weights = model / "transformer/diffusion_pytorch_model.safetensors"

        def broken(data):
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(MODEL, model)
            weights.write_bytes(data)

        whole = (MODEL / "transformer/diffusion_pytorch_model.safetensors").read_bytes()
        size = struct.unpack("<Q", whole[:8])[0]
        broken(whole[:len(whole) // 2])
        self.refused("diffusion_pytorch_model.safetensors", "cut off", **{"model__folder": model})
        broken(struct.pack("<Q", 1 << 40) + whole[8:])
        self.refused("header", **{"model__folder": model})
        header = json.loads(whole[8:8 + size])
        header["surplus.weight"] = header.pop("x_embedder.proj.weight")
        header["proj_out.bias"]["shape"] = [1] + header["proj_out.bias"]["shape"]
        text = json.dumps(header).encode()
        broken(struct.pack("<Q", len(text)) + text + whole[8 + size:])
        problems = ("missing", "x_embedder.proj.weight", "surplus.weight", "proj_out.bias")
        self.refused("transformer: ", *problems, ranks=2, name="weights", **{"model__folder": model})
        # A stage by itself looks at what it needs.
        code, text = magicid(words("prepare", FOLDER / "weights", model__folder=model), 2)
        self.assertEqual(code, 0, text)
        self.refused(*problems, "reading the transformer failed on 2 of 2 ranks", "ranks 0-1 (node ", verb="reconstruct", ranks=2, name="weights", model__folder=model)

    def test_a_file_that_is_damaged_in_place_is_told_with_rank_and_node(self):
        shutil.copytree(FOLDER / "two", FOLDER / "bit-rot", copy_function=shutil.copy2)
        path = FOLDER / "bit-rot/prepared.h5"
        times, data = path.stat(), bytearray(path.read_bytes())
        at = data.rfind(b"a sks woman waves")  # a prompt, which nothing reads before the stage's work
        data[at] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        starts = (("score", {"rewards__flow_updates": 2}), ("generate", {"generate__tuned_per_prompt": 6}), ("reconstruct", {"reconstruct__steps": 5}))
        for verb, changes in starts:
            self.refused("reading prepared.h5 failed on 2 of 2 ranks", "ranks 0-1 (node ", "prepared.h5", verb=verb, ranks=2, name="bit-rot", **changes)

    def test_another_models_run_directory(self):
        shutil.copytree(FOLDER / "two", FOLDER / "another-model")
        other = FOLDER / "other-model"
        code, text = magicid(["init-model", "--seed", "2", str(other)])
        self.assertEqual(code, 0, text)
        self.refused("another model", name="another-model", **{"model__folder": other})
        code, text = magicid(words("run", FOLDER / "another-model", **{"model__folder": other}) + ["--accept-other-model"], 2)
        self.assertEqual(code, 0, text)
        self.assertEqual(len(ran(text)), 9, text)

    def test_a_folder_that_is_no_run(self):
        (FOLDER / "home").mkdir()
        (FOLDER / "home/thesis.tex").write_text("x")
        self.refused("thesis.tex", name="home")
        self.assertTrue((FOLDER / "home/thesis.tex").exists())

    def test_a_directory_in_use(self):
        process = start(words("run", FOLDER / "busy", optimize__pairs_seen=4000))
        while not (FOLDER / "busy/manifest.json").exists():
            time.sleep(0.05)
        self.refused("busy", name="busy")
        process.kill()
        process.communicate()

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small disk needs root")
    def test_a_full_disk(self):
        disk = FOLDER / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("this machine does not let root mount a tmpfs")
        try:
            self.refused("disk: ", "are free. Free some", ranks=2, name="disk/run")
            for verb in ("prepare", "reconstruct", "generate", "score"):
                code, text = magicid(words(verb, FOLDER / "disk/run"), 2)
                if code:
                    break
            self.assertEqual(code, 3, text)
            self.assertIn("No space left", text)
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            text = run("disk/run", ranks=2)
            self.assertNotIn("prepare", ran(text), text)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        # What was finished before the disk was full was found, not made again.


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
