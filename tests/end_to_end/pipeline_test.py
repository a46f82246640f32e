#!/usr/bin/env python3
"""The whole pipeline as a user runs it, on one to four ranks: equal results, restarts, kills, bad input. Standard library only.

Usage: pipeline_test.py MAGICID_PROGRAM PROJECT_FOLDER [unittest arguments]
More kills: MAGICID_KILLS=200 pipeline_test.py build/cpu/bin/magicid . Kills.test_a_killed_run_started_again_equals_an_unbroken_one
"""
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM, PROJECT = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="magicid-pipeline-"))
MODEL = FOLDER / "model"
LIMIT = 120  # seconds: a rank that hangs fails the test
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_rmaps_base_oversubscribe="1")
SMALL = {"video.frames": 5, "rewards.flow_updates": 1, "generate.steps": 2, "optimize.pairs_seen": 12, "optimize.global_batch": 4, "reconstruct.steps": 6,
         "reconstruct.global_batch": 4, "optimize.checkpoint_every": 1, "reconstruct.checkpoint_every": 2}


def words(verb, output, **changes):
    settings = dict(SMALL, output=output, prompts=FOLDER / "prompts.txt")
    settings["model.folder"] = MODEL
    settings.update({key.replace("__", "."): value for key, value in changes.items()})
    command = [verb, str(PROJECT / "configs/quickstart.yaml")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command


def start(command, ranks=0):
    launcher = [str(PROJECT / "launch/mpirun"), "-n", str(ranks)] if ranks else []
    return subprocess.Popen(launcher + [str(PROGRAM)] + command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finish(process):
    try:
        text, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        raise AssertionError(f"hangs for {LIMIT} s:\n{text}")
    return process.returncode, text


def magicid(command, ranks=0):
    return finish(start(command, ranks))


def run(name, ranks=1, verb="run", **changes):
    code, text = magicid(words(verb, FOLDER / name, **changes), ranks)
    if code:
        raise AssertionError(f"exit code {code}:\n{text}")
    return text


def tensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__" and not name.endswith("alpha"):
            begin, end = entry["data_offsets"]
            found[name] = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
    return found


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
    run("two", ranks=2)


def tearDownModule():
    shutil.rmtree(FOLDER, ignore_errors=True)


class Pipeline(unittest.TestCase):
    def test_every_rank_count_trains_the_same_adapter_to_rounding(self):
        expected = tensors(adapter("two"))
        largest = {name: max(map(abs, values)) for name, values in expected.items()}
        for ranks in (1, 3, 4):
            run(f"ranks-{ranks}", ranks=ranks)
            worst = max(max(abs(a - b) for a, b in zip(values, expected[name])) / max(largest[name], 1e-6) for name, values in tensors(adapter(f"ranks-{ranks}")).items())
            # Nine AdamW updates lie between: where a gradient is nearly zero its sign, and so the update, hangs on rounding.
            self.assertLess(worst, 0.02, f"{ranks} ranks")
            losses = [abs(a["loss"] - b["loss"]) for a, b in zip(metrics("two", "optimize"), metrics(f"ranks-{ranks}", "optimize"))]
            self.assertLess(max(losses), 1e-4)

    def test_from_the_same_stage_1_every_rank_count_gives_the_same_candidates_scores_and_pairs(self):
        for verb in ("prepare", "reconstruct"):
            run("stage1", ranks=2, verb=verb)
        for ranks in (1, 3, 4):
            name = f"from-stage1-{ranks}"
            shutil.copytree(FOLDER / "stage1", FOLDER / name)
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

    def test_stages_one_by_one_equal_run(self):
        for verb in ("prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate", "export", "report"):
            run("stages", ranks=2, verb=verb)
        self.assertEqual(adapter("stages").read_bytes(), adapter("two").read_bytes())
        code, text = magicid(words("optimize", FOLDER / "empty-start"))
        self.assertEqual(code, 2)
        self.assertIn("magicid prepare", text)


class Kills(unittest.TestCase):
    def test_a_killed_run_started_again_equals_an_unbroken_one(self):
        draw = random.Random(7)
        for turn in range(int(os.environ.get("MAGICID_KILLS", "10"))):
            name = f"killed-{turn}"
            process = start(words("run", FOLDER / name), ranks=2)
            time.sleep(draw.uniform(0.3, 9))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            time.sleep(0.3)  # the ranks notice that mpirun is gone
            run(name, ranks=2)
            self.assertEqual(adapter(name).read_bytes(), adapter("two").read_bytes(), f"turn {turn}")
            self.assertEqual(stage_results(name)["select"], stage_results("two")["select"])
            shutil.rmtree(FOLDER / name)

    def test_one_lost_rank_ends_the_job(self):
        process = start(words("run", FOLDER / "lost"), ranks=3)
        time.sleep(3)
        ranks = subprocess.run(["pgrep", "-f", f"output={FOLDER}/lost"], capture_output=True, text=True).stdout.split()
        victims = [int(pid) for pid in ranks if pathlib.Path(f"/proc/{pid}/exe").resolve() == PROGRAM]
        os.kill(max(victims), signal.SIGKILL)
        code, _ = finish(process)
        self.assertNotEqual(code, 0)

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
        self.refused("global_batch", ranks=2, reconstruct__global_batch=1)
        bad = FOLDER / "bad.yaml"
        bad.write_text((PROJECT / "configs/quickstart.yaml").read_text() + "\nsubjekt: {trigger: x}\n")
        code, text = magicid(["run", str(bad)])
        self.assertEqual(code, 2)
        self.assertRegex(text, r"bad\.yaml:\d+: .*subjekt.*subject")

    def test_prompts(self):
        (FOLDER / "bad.txt").write_text("a {subject} walks\n\na woman walks\n")
        self.refused("bad.txt:3", "{subject}", prompts=FOLDER / "bad.txt")
        (FOLDER / "long.txt").write_text("a {subject} walks " + "and sings " * 80 + "zebra\n")
        self.assertRegex(run("long", verb="prepare", prompts=FOLDER / "long.txt"), r"warning.*zebra")

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
        self.refused("missing", "x_embedder.proj.weight", "surplus.weight", "proj_out.bias", ranks=2, name="weights", **{"model__folder": model})

    def test_another_models_run_directory(self):
        shutil.copytree(FOLDER / "two", FOLDER / "other")
        other = FOLDER / "other-model"
        code, text = magicid(["init-model", "--seed", "2", str(other)])
        self.assertEqual(code, 0, text)
        self.refused("another model", name="other", **{"model__folder": other})
        code, text = magicid(words("run", FOLDER / "other", **{"model__folder": other}) + ["--accept-other-model"], 2)
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
            self.refused("No space left", code=3, ranks=2, name="disk/run")
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            text = run("disk/run", ranks=2)
            self.assertNotIn("prepare", ran(text), text)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        # What was finished before the disk was full was found, not made again.


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
