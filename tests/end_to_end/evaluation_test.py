#!/usr/bin/env python3
"""`magicid evaluate` over own runs and folders of videos: rank counts, tables, finished work, bad folders. Standard library only.

Usage: evaluation_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
"""
import csv
import json
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

from launcher import Launcher, dotted, flags

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-evaluation-"))
MODEL, OTHER, REAL = FOLDER / "model", FOLDER / "other", FOLDER / "real"
SETTINGS = {"model.folder": MODEL, "prompts": FOLDER / "prompts.txt", "video.frames": 13, "video.height": 32, "video.width": 48,
            "rewards.flow_updates": 1, "rewards.flow_rate": 2, "rewards.face_frames": 3, "generate.steps": 1, "optimize.pairs_seen": 4, "reconstruct.steps": 2}
LIMIT = 300  # seconds: a rank that hangs fails the test
LAUNCHER = Launcher(PROGRAM, PROJECT, LIMIT)
magicid = LAUNCHER.outcome
OWN = "a sks woman says \"hello\", and walks"


def run(verb, name, ranks=0, expect=0, **changes):
    return LAUNCHER.run([verb, PROJECT / "configs/tiny.yaml", *flags({"output": FOLDER / name, **SETTINGS, **dotted(changes)})], ranks, expect)


def evaluation(name):
    return json.loads((FOLDER / name / "evaluation.json").read_text())


def arm(name, which):
    return next(row for row in evaluation(name)["arms"] if row["arm"] == which)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def copy_of_run(name, fresh=False):
    """A copy of the run; `fresh`: without anything that `evaluate` made."""
    shutil.copytree(FOLDER / "run", FOLDER / name)
    if fresh:
        shutil.rmtree(FOLDER / name / "evaluation")
        for preview in (FOLDER / name / "previews").glob("evaluate-*"):
            preview.unlink()
    return name


def write_table(folder, rows):
    with open(folder / "prompts.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "prompt"], *rows])


FOLDERS = {"evaluate__folders": f"{{other method: {OTHER}}}", "evaluate__real_videos": REAL}


def setUpModule():
    (FOLDER / "prompts.txt").write_text("a {subject} walks\na {subject} waves\n")
    code, text = magicid(["init-model", "--size", "tiny", "--seed", "1", "--vqa", MODEL])
    assert code == 0, text
    run("run", "run", ranks=2)
    # Another method's videos: two of our own under its names, and one of another size.
    OTHER.mkdir()
    REAL.mkdir()
    videos = [v for v in evaluation("run")["videos"] if v["arm"] == "hpo"]
    for name, video in zip(("x.mp4", "y, 1.mp4"), videos):
        shutil.copy(FOLDER / "run/previews" / video["preview"], OTHER / name)
    code, text = magicid(["sample", "--model", MODEL, "--prompt", OWN, "--height", 48, "--width", 32, "--frames", 9, "--steps", 1, "--max-length", 64, "--fps", 12, "--output", OTHER / "z.mp4"])
    assert code == 0, text
    write_table(OTHER, [["y, 1.mp4", "a woman waves"], ["x.mp4", "a {subject} walks"], ["z.mp4", OWN]])
    for index, source in enumerate(("z.mp4", "x.mp4", "y, 1.mp4")):
        shutil.copy(OTHER / source, REAL / f"{index}.mp4")


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


class Evaluation(unittest.TestCase):
    maxDiff = None

    def test_one_and_two_ranks_give_the_same_figures(self):
        # With another option every figure is measured anew, from the same files; nothing is generated.
        for ranks in (1, 2):
            text = run("evaluate", copy_of_run(f"ranks-{ranks}"), ranks=ranks, rewards__flow_updates=2, **FOLDERS)
            self.assertNotIn("evaluate, videos", text)
        for file in ("evaluation.json", "evaluation.csv", "evaluation-summary.csv"):
            self.assertEqual((FOLDER / "ranks-1" / file).read_text(), (FOLDER / "ranks-2" / file).read_text())

    def test_videos_made_again_on_one_rank_are_those_of_two(self):
        run("evaluate", copy_of_run("fresh", fresh=True), ranks=1)
        old = {(v["arm"], v["prompt"]): v for v in evaluation("run")["videos"]}
        for video in evaluation("fresh")["videos"]:
            before = old[video["arm"], video["prompt"]]
            self.assertEqual(video["preview"], before["preview"])
            # Compression makes the last bit of a frame visible in the figures.
            for name in ("face_similarity", "temporal_consistency"):
                self.assertAlmostEqual(video["metrics"][name], before["metrics"][name], delta=0.05)

    def test_ranks_that_share_videos_decode_each_its_own_and_rank_0_alone_encodes_prompts(self):
        # A prompt that is too long is warned of by whoever encodes it.
        (FOLDER / "long.txt").write_text("a {subject} " + "slowly " * 90 + "walks\na {subject} waves\n")
        name = copy_of_run("shared", fresh=True)
        text = run("evaluate", name, ranks=2, mesh__sequence=2, evaluate__prompts=FOLDER / "long.txt")
        self.assertRegex(text, r"\[rank 0\] prompt .*too long")
        self.assertNotRegex(text, r"\[rank 1\] prompt .*too long")
        ranks = set(re.findall(rb'"rank":(\d)', b"".join(path.read_bytes() for path in (FOLDER / name / "evaluation").glob("*.h5"))))
        self.assertEqual(ranks, {b"0", b"1"})
        self.assertFalse((FOLDER / name / "evaluation/latents").exists())

    def test_a_folder_stands_in_the_tables_as_an_arm(self):
        name = copy_of_run("folder")
        text = run("evaluate", name, ranks=2, **FOLDERS)
        e = evaluation(name)
        self.assertEqual([row["arm"] for row in e["arms"]], ["base", "stage1", "other method", "hpo"])
        self.assertEqual(e["prompts"], ["a {subject} walks", "a {subject} waves", OWN])
        # The same files with the same text give the same figures as our own arm.
        own = {v["prompt"]: v["metrics"] for v in e["videos"] if v["arm"] == "hpo"}
        theirs = {v["prompt"]: v for v in e["videos"] if v["arm"] == "other method"}
        for prompt in (0, 1):
            self.assertEqual(theirs[prompt]["metrics"], own[prompt])
        self.assertEqual(theirs[1]["file"], "y, 1.mp4")
        self.assertEqual(theirs[2]["size"], {"height": 48, "width": 32, "frames": 9, "fps": 12.0})
        self.assertIn("another size or rate", e["notes"][0])
        self.assertIn("another size or rate", text)
        # All of the folder's videos against themselves under other names, two of each.
        self.assertEqual(e["frechet"]["metric"], "clip_frechet")
        self.assertEqual(e["frechet"]["videos"], 2)
        for row in e["arms"]:
            self.assertGreaterEqual(row["metrics"]["clip_frechet"]["mean"], 0)
            self.assertEqual(row["metrics"]["clip_frechet"]["n"], 2)
        self.assertEqual(arm(name, "hpo")["metrics"]["clip_frechet"], arm(name, "other method")["metrics"]["clip_frechet"])
        # The tables hold the figures of the JSON file.
        rows = table(FOLDER / name / "evaluation.csv")
        self.assertEqual(len(rows), 9)
        for row, video in zip(rows, e["videos"]):
            self.assertEqual(row["prompt"], e["prompts"][video["prompt"]])
            self.assertEqual(float(row["face_similarity"]), video["metrics"]["face_similarity"])
            self.assertEqual(int(row["height"]), video["size"]["height"])
        summary = {(row["arm"], row["prompt"], row["metric"]): row for row in table(FOLDER / name / "evaluation-summary.csv")}
        for row in e["arms"]:
            for metric, estimate in row["metrics"].items():
                self.assertEqual(float(summary[row["arm"], "all", metric]["mean"]), estimate["mean"])
        self.assertEqual(summary["other method", OWN, "clip_t"]["n"], "1")
        self.assertEqual(summary["hpo", "all", "clip_frechet"]["low"], "")
        manifest = json.loads((FOLDER / name / "manifest.json").read_text())["stages"]["evaluate"]["files"]
        self.assertEqual(set(manifest), {"evaluation.json", "evaluation.csv", "evaluation-summary.csv"})
        # The report shows them.
        run("report", name, **FOLDERS)
        page = (FOLDER / name / "report.html").read_text()
        for word in ("other method", "Figures of every prompt", "CLIP Fréchet distance", "another size or rate"):
            self.assertIn(word, page)
        self.sheets(FOLDER / name)

    def sheets(self, folder):
        """`magicid sheet` over that run: sizes follow from columns and rows; mistakes are told."""
        def sheet(file, *more):
            code, text = magicid(["sheet", folder, "--out", FOLDER / file, *more])
            self.assertEqual(code, 0, text)
            return (FOLDER / file).read_bytes()

        def size(png):
            return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")

        # Three prompts, the last of which the folder alone has: 48 x 32, beside 32 x 48 above.
        everything = sheet("all.png", "--no-photos")
        self.assertEqual(size(everything), (8 + 4 * 168, 8 + 20 + 2 * (20 + 106 + 8) + 20 + 240 + 8))
        self.assertEqual(size(sheet("one.png", "--no-photos", "--arm", "hpo", "--arm", "base", "--prompt", 1, "--cell-width", 48)), (8 + 2 * 56, 8 + 20 + 20 + 32 + 8))
        self.assertEqual(size(sheet("photo.png", "--arm", "hpo", "--rows", 1))[0], 8 + 2 * 168)
        self.assertEqual(sheet("again.png", "--no-photos"), everything, "the same bytes")
        self.assertEqual(sheet("moving.webp")[8:16], b"WEBPVP8X")
        self.assertEqual(sheet("video.mp4")[4:8], b"ftyp")
        both = magicid(["sheet", folder, FOLDER / "run", "--arm", "hpo", "--no-photos", "--rows", 1, "--out", FOLDER / "two.png"])
        self.assertEqual(both[0], 0, both[1])
        self.assertEqual(size((FOLDER / "two.png").read_bytes())[1], 8 + 20 + 2 * (20 + 106 + 8))
        for words, says in ((("--out", "x.gif"), ("x.gif", ".webp")), (("--out", "x.png", "--arm", "hpoo"), ("'hpoo'", "did you mean", "hpo")), (("--out", "x.png", "--prompt", 3), ("prompts 0 to 2",))):
            code, text = magicid(["sheet", folder, *words])
            self.assertEqual(code, 2, text)
            for word in says:
                self.assertIn(word, text)

    def test_finished_work_is_not_done_again(self):
        name = copy_of_run("again")
        # Figures of our own videos were measured by the run; only the folder's and the real ones are new, and files of the same bytes are measured once for each use.
        self.assertNotIn("evaluate, videos", run("evaluate", name, **FOLDERS))
        self.assertIn("evaluate: finished earlier", run("evaluate", name, **FOLDERS))
        before = {v["arm"]: v for v in evaluation(name)["videos"]}
        # Other figures of the same videos: measured from their files, none generated.
        changed = run("evaluate", name, rewards__flow_updates=2, **FOLDERS)
        self.assertNotIn("evaluate, videos", changed)
        self.assertIn("evaluate, figures", changed)
        self.assertNotEqual(before, {v["arm"]: v for v in evaluation(name)["videos"]})
        # A damaged video is made again.
        preview = FOLDER / name / "previews" / evaluation(name)["videos"][0]["preview"]
        whole = preview.read_bytes()
        preview.write_bytes(whole[:-10])
        self.assertIn("evaluate, videos", run("evaluate", name, rewards__flow_updates=3, **FOLDERS))
        self.assertNotEqual(preview.read_bytes(), whole[:-10])
        self.assertGreater(preview.stat().st_size, len(whole) // 2)

    def test_fvd_by_a_torchscript_network(self):
        name = copy_of_run("fvd")
        rest = FOLDER / "long"  # the videos with enough frames
        rest.mkdir()
        for file in ("x.mp4", "y, 1.mp4"):
            shutil.copy(OTHER / file, rest / file.replace(", ", "-"))
        (rest / "prompts.jsonl").write_text('{"file": "x.mp4", "prompt": "a woman walks"}\n{"file": "y-1.mp4", "prompt": "a woman waves"}\n')
        i3d = PROJECT / "tests/data/i3d/small.pt"
        run("evaluate", name, ranks=2, evaluate__folders=f"{{same: {rest}}}", evaluate__real_videos=rest, evaluate__i3d=i3d)
        self.assertLess(arm(name, "same")["metrics"]["fvd"]["mean"], 1e-6)
        self.assertGreater(arm(name, "base")["metrics"]["fvd"]["mean"], 1e-6)
        self.assertNotIn("clip_frechet", arm(name, "same")["metrics"])
        # Nine frames are too few for I3D: a dash, and why.
        run("evaluate", name, evaluate__i3d=i3d, **FOLDERS)
        self.assertIsNone(arm(name, "hpo")["metrics"]["fvd"]["mean"])
        self.assertIn("10 frames", evaluation(name)["frechet"]["hint"])
        self.assertIn("evaluate.real_videos", evaluation("run")["frechet"]["hint"])

    def test_folders_alone_and_paired_differences(self):
        name = copy_of_run("alone")
        run("evaluate", name, evaluate__arms="[]", **FOLDERS)
        self.assertEqual([row["arm"] for row in evaluation(name)["arms"]], ["other method"])
        self.assertEqual(evaluation(name)["frechet"]["videos"], 3)
        self.assertLess(arm(name, "other method")["metrics"]["clip_frechet"]["mean"], 1e-9)  # the same files
        run("evaluate", name, **FOLDERS)
        code, text = magicid(["compare", FOLDER / name, "--arm", "hpo", "--baseline", "other method", "--metric", "face_similarity"])
        self.assertEqual(code, 0, text)
        self.assertRegex(text, r"\| hpo \| face_similarity \|.*\| \+0 \|.*\| 2 \|")

    def test_a_vision_language_model_gives_the_semantic_reward(self):
        name, vqa = copy_of_run("asked"), {"rewards__semantics": "vqa", "rewards__vqa_frames": 3}
        other = FOLDER / "other-vqa"
        shutil.copytree(MODEL / "rewards/vqa", other)
        (other / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
        text = run("score", name, expect=2, rewards__vqa=other, **vqa)
        self.assertIn("the chat template does not hold", text)
        # Candidates are scored again, none is made again.
        text = run("run", name, ranks=2, **vqa)
        for stage in ("prepare", "reconstruct", "generate"):
            self.assertIn(f"{stage}: finished earlier", text)
        before = {(v["arm"], v["prompt"]): v["metrics"] for v in evaluation("run")["videos"]}
        for video in evaluation(name)["videos"]:
            asked, clip = video["metrics"], before[video["arm"], video["prompt"]]
            self.assertTrue(0 < asked["semantic"] < 1)
            self.assertNotEqual(asked["semantic"], clip["semantic"])
            if video["arm"] != "hpo":  # trained on other pairs now
                self.assertEqual({**asked, "semantic": 0}, {**clip, "semantic": 0})
        self.assertIn("score: finished earlier", run("score", name, **vqa))
        self.assertIn("evaluate: finished earlier", run("evaluate", name, **vqa))
        # Another question is another score, and the same network elsewhere is not; CLIP's scores are still there.
        self.assertNotIn("score: finished earlier", run("score", name, rewards__vqa_answer="rating", **vqa))
        moved = FOLDER / "moved-vqa"
        shutil.copytree(MODEL / "rewards/vqa", moved)
        scores = {p.name for p in (FOLDER / name / "scores").iterdir()}
        run("score", name, rewards__vqa=moved, **vqa)
        self.assertEqual({p.name for p in (FOLDER / name / "scores").iterdir()}, scores)
        run("score", name)
        self.assertEqual({p.name for p in (FOLDER / name / "scores").iterdir()}, scores)

    def test_what_stands_in_the_tables_and_the_report_is_of_now(self):
        name, photos = copy_of_run("of-now"), FOLDER / "photos"
        photos.mkdir()
        shutil.copy(PROJECT / "datasets/reference/astronaut.png", photos / "another-name.png")
        text = run("run", name, subject__references=photos)
        for stage in ("reconstruct", "generate", "score", "select", "optimize", "evaluate", "export"):
            self.assertIn(f"{stage}: finished earlier", text)
        self.assertIn("another-name.png", (FOLDER / name / "report.html").read_text())
        # Another rate: other files, and other frames between which motion is measured.
        before = evaluation(name)
        run("run", name, subject__references=photos, video__fps=24)
        after = evaluation(name)
        self.assertEqual([before["video"]["fps"], after["video"]["fps"]], [8, 24])
        for old, new in zip(before["videos"], after["videos"], strict=True):
            self.assertEqual(new["size"]["fps"], 24)
            self.assertNotEqual(old["preview"], new["preview"])
        # A folder that was moved is named where it lies now; nothing is measured again.
        run("evaluate", name, subject__references=photos, video__fps=24, **FOLDERS)
        measured = {p.name: p.stat().st_mtime_ns for p in (FOLDER / name / "evaluation").iterdir()}
        moved = FOLDER / "moved"
        shutil.copytree(OTHER, moved)
        run("evaluate", name, subject__references=photos, video__fps=24, **{**FOLDERS, "evaluate__folders": f"{{other method: {moved}}}"})
        self.assertEqual({p.name: p.stat().st_mtime_ns for p in (FOLDER / name / "evaluation").iterdir()}, measured)
        self.assertEqual(arm(name, "other method")["folder"], str(moved))

    def test_bad_folders_are_named_before_any_work(self):
        name = copy_of_run("refused")
        before = (FOLDER / name / "evaluation.json").read_bytes()
        bad = FOLDER / "bad"
        bad.mkdir()

        def refused(*expected, ranks=0, **changes):
            text = run("evaluate", name, ranks=ranks, expect=2, **{**{"evaluate__folders": f"{{bad: {bad}}}"}, **changes})
            for part in expected:
                self.assertIn(part, text)
            self.assertEqual((FOLDER / name / "evaluation.json").read_bytes(), before)
            self.assertNotIn("evaluate, figures", text)

        refused("bad", ranks=2)
        shutil.copy(OTHER / "x.mp4", bad / "first.mp4")
        refused("'first.mp4'", "prompts.csv")
        (bad / "text.mp4").write_text("no video")
        write_table(bad, [["first.mp4", "a woman walks"], ["text.mp4", "a woman walks"], ["third.mp4", "a woman walks"]])
        refused("text.mp4", "'third.mp4'", ranks=2)
        refused("evaluate.real_videos", "absent", evaluate__folders="", evaluate__real_videos=FOLDER / "absent")
        refused("hpo", "arm of this run", evaluate__folders=f"{{hpo: {OTHER}}}")
        refused("text.mp4", evaluate__folders="", evaluate__real_videos=REAL, evaluate__i3d=bad / "text.mp4")
        refused("evaluate.real_videos", evaluate__folders="", evaluate__i3d=PROJECT / "tests/data/i3d/small.pt")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
