"""The golden runs: small configurations with odd options, and what of their results is compared with tests/data/golden. For golden_test.py and
tests/reference/make_golden.py.

Bytes of floating point hang on the instructions that kernels choose by processor. PINNED makes LibTorch, oneDNN, MKL and libm choose the oldest. What a
run gives is sorted by how far it can still differ: `exact` (counts, pairs, prompts: by nature the same everywhere), `keys` (hashes of the model, texts and
options: the same wherever the random model is), `numbers` (within a tolerance) and `bytes` (hashes of floating point, and what depends on them).
Standard library only."""
import hashlib
import json
import math
import pathlib
import platform
import re
import shutil

import hdf5_dump
from adapter_files import tensors as adapter_tensors
from launcher import flags

# Each of the first three changes the bytes on a processor with AVX-512. With all of them an emulated Nehalem gives the same candidates and parameters; some
# scores differ there in the last digits.
PINNED = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
          "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F"}

# Each changes what stands in tests/data/golden/golden.yaml. `photos`: so many copies of one; `ranks`: under mpirun; `tolerance`: of numbers, where another
# processor rounds otherwise.
CASES = {
    "true_guidance": dict(settings={
        "generate.true_cfg": 2.5, "generate.negative_prompt": "blurry", "rewards.semantic_input": "grid", "select.dynamic_pairs.rule": "frontier",
        "select.identity_pairs.condition": "portrait", "select.identity_pairs.loser": "video", "select.rewards": "identity+dynamics",
        "optimize.reference": "base", "optimize.noise_draws": 2, "optimize.dynamic_supervised_weight": 0.5, "optimize.identity_supervised_weight": 0.25,
        "adapter.targets": "[img_attn_qkv, txt_mlp.fc1, linear1]"}),
    "prior_video": dict(settings={
        "reconstruct.prior_preservation.weight": 0.75, "reconstruct.prior_preservation.kind": "video", "reconstruct.prior_preservation.samples": 3,
        "video.height": 48, "video.width": 80, "model.recompute": "full:1,attention_kept", "rewards.face_detector.kind": "haar",
        "reconstruct.schedule": "cosine", "reconstruct.warmup_steps": 1, "generate.initial_per_prompt": 1}),
    "previews": dict(settings={
        "optimize.previews.every": 1, "optimize.previews.count": 1, "optimize.previews.seed": 3, "optimize.keep_best": "dynamics",
        "optimize.learning_rate": 0.02, "generate.tuned_per_prompt": 1, "evaluate.arms": "[base, stage1]", "optimize.schedule": "linear",
        "subject.class_name": "man"}),
    "bfloat16": dict(tolerance=0.2, settings={
        "model.dtype": "bfloat16", "reconstruct.prior_preservation.weight": 1, "reconstruct.prior_preservation.samples": 2, "generate.initial_per_prompt": 1,
        "generate.tuned_per_prompt": 2, "rewards.reference_aggregation": "centroid", "video.height": 32, "video.width": 48}),
    "two_ranks": dict(ranks=2, photos=2, settings={
        "mesh.sequence": 2, "video.height": 48, "video.width": 80, "optimize.keep_best": "sum", "optimize.previews.every": 3, "optimize.learning_rate": 0.01,
        "optimize.previews.count": 1, "rewards.reference_aggregation": "max", "generate.tuned_per_prompt": 1}),
    "pair": dict(ranks=2, settings={
        "mesh.pair": 2, "video.height": 32, "video.width": 48, "generate.initial_per_prompt": 1, "reconstruct.global_batch": 3}),
}
STAGES = ("prepare", "reconstruct", "generate", "score", "select", "optimize", "evaluate", "export")  # not `report`, whose inputs hold times
STEP_FIGURES = ("loss", "gradient_norm", "winner_error", "loser_error", "reference_winner_error", "reference_loser_error", "instance_loss", "prior_loss")


def surroundings(project):
    """What bytes may hang on even so: a golden's bytes are compared where these are the same."""
    lines = (line.partition(":") for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    processor = {name.strip(): value.strip() for name, _, value in lines}
    torch, = re.findall(r"^torch==.*$", (project / "launch/wheels.cpu").read_text(), re.MULTILINE)
    names = ("vendor_id", "cpu family", "model", "model name", "cache size")
    return {"processor": ", ".join(f"{name} {processor.get(name, '?')}" for name in names), "libtorch": torch, "libc": " ".join(platform.libc_ver())}


def make(launcher, case, folder, model):
    """Makes the run of CASES[case] below `folder` and returns its record."""
    photos, output, plan = folder / f"{case}-photos", folder / case, CASES[case]
    photos.mkdir(parents=True)
    for i in range(plan.get("photos", 1)):
        shutil.copy(launcher.project / "datasets/reference/astronaut.png", photos / f"photo-{i + 1}.png")
    settings = {"output": output, "model.folder": model, "subject.references": photos, **plan["settings"]}
    launcher.run(["run", launcher.project / "tests/data/golden/golden.yaml", *flags(settings)], plan.get("ranks", 0), **PINNED)
    return record(output)


def record(output):
    """What is compared of a run directory: {"exact": {name: value}, "keys": ..., "numbers": {name: [scale, number, ...]}, "bytes": ...}."""
    found = {"exact": {}, "keys": {}, "numbers": {}, "bytes": {}}
    manifest = json.loads((output / "manifest.json").read_text())
    found["keys"]["model"] = manifest["identity"]["model"]
    found["keys"]["prepare/fingerprint"] = manifest["stages"]["prepare"]["fingerprint"]
    for stage in STAGES:
        found["bytes"][f"{stage}/fingerprint"] = manifest["stages"][stage]["fingerprint"]
        # The export's is a hash of whole files, whose headers may gain entries; their tensors are compared below.
        if stage != "export":
            found["bytes"][f"{stage}/result"] = manifest["stages"][stage]["result"]
    candidates = add_pairs(found, hdf5_dump.read(output / "pairs.h5"))
    add_candidates(found, candidates, store(output / "candidates"))
    add_scores(found, candidates, store(output / "scores"))
    for stage in ("reconstruct", "optimize"):
        add_training(found, output, stage, manifest["stages"][stage]["files"])
    for file in sorted((output / "adapter").glob("*.safetensors")):
        add_tensors(found, f"adapter/{file.name}", adapter_tensors(file))
    add_evaluation(found, json.loads((output / "evaluation.json").read_text()))
    return found


def differences(case, golden, found, same_surroundings):
    """(errors, notes): what is wrong, and what differs as it may on another processor or with other libraries."""
    errors, notes = [], []
    tolerance = CASES[case].get("tolerance", 1e-4)
    for kind in ("exact", "keys", "numbers", "bytes"):
        names = [*golden[kind], *(name for name in found[kind] if name not in golden[kind])]
        absent = [name for name in names if name not in golden[kind] or name not in found[kind]]
        differ = absent + [name for name in names if name not in absent and not equal(kind, name, golden[kind][name], found[kind][name], tolerance)]
        excused = not absent and not same_surroundings and (kind == "bytes" or (kind == "keys" and found["keys"]["model"] != golden["keys"]["model"]))
        lines = [f"{case}: {kind}: {name}: {found[kind].get(name, 'absent')}, golden {golden[kind].get(name, 'absent')}" for name in differ[:8]]
        if differ:
            (notes if excused else errors).append("\n".join([f"{case}: {len(differ)} of {len(names)} differ in {kind}", *([] if excused else lines)]))
    return errors, notes


def equal(kind, name, golden, found, tolerance):
    if kind != "numbers":
        return golden == found
    # Videos that are evaluated have been through a video codec, which turns rounding into whole steps of eight bits.
    limit = max(tolerance, 1e-2) if name.startswith("evaluation/") else tolerance
    return len(golden) == len(found) and all(abs(a - b) <= limit * golden[0] for a, b in zip(golden, found))


def add_tensors(found, name, tensors):
    """Of all tensors together: their names and sizes, a hash of their numbers, and what tells a small difference from a large one: norm and two sums with
    pseudo-random signs."""
    digest, square, sums, at = hashlib.sha256(), 0.0, [0.0, 0.0], 0
    for key in sorted(tensors):
        values = tensors[key]
        digest.update(f"{key}:{','.join(map(float.hex, map(float, values)))};".encode())
        square += math.fsum(value * value for value in values)
        for which, factor in enumerate((2654435761, 2246822519)):
            sums[which] += math.fsum(value if (i * factor >> 13) & 1 else -value for i, value in enumerate(values, at))
        at += len(values)
    found["exact"][name] = [len(tensors), at, hashlib.sha256(",".join(sorted(tensors)).encode()).hexdigest()[:16]]
    found["numbers"][name] = [math.sqrt(square), math.sqrt(square), *sums]
    found["bytes"][name] = digest.hexdigest()[:32]


def add_number(found, name, value):
    found["numbers"][name] = [max(abs(value), 1.0), value]
    found["bytes"][name] = float(value).hex()


def add_pairs(found, pairs):
    """Returns [(key, source)] of the candidates, in their order."""
    candidates = json.loads(pairs["candidates"].text())
    index = {candidate["key"]: i for i, candidate in enumerate(candidates)}
    for i, candidate in enumerate(candidates):
        found["exact"][f"candidates/{i}"] = [candidate[name] for name in ("source", "prompt", "text", "strength", "front", "rejection")]
        for reward, value in sorted(candidate["raw"].items()):
            add_number(found, f"candidates/{i}/{reward}", value)
        found["bytes"][f"candidates/{i}/normalised"] = candidate["normalised"]
    made = json.loads(pairs["pairs"].text())
    found["exact"]["pairs"] = [[pair["kind"], index[pair["winner"]], index[pair["loser"]], pair["loser_still"], pair["prompt"], pair["condition"],
                                pair["winner_front"], pair["loser_front"]] for pair in made]
    found["exact"]["pairs/notes"] = json.loads(pairs["notes"].text())
    found["bytes"]["pairs"] = [[pair["winner"], pair["loser"], *(pair[f"{reward}_gap"] for reward in ("identity", "dynamics", "semantics"))] for pair in made]
    found["bytes"]["pairs/ranges"] = json.loads(pairs["ranges"].text())
    return [(candidate["key"], candidate["source"]) for candidate in candidates]


def store(folder):
    """{key: (description, {name: Dataset})} of all entries in a folder of segments."""
    entries = {}
    for file in sorted(folder.glob("*.h5")):
        for path, dataset in hdf5_dump.read(file).items():
            _, key, name = path.split("/", 2)
            entries.setdefault(key, {})[name] = dataset
    return {key: (json.loads(entry.pop("description").text()), entry) for key, entry in entries.items()}


def add_candidates(found, candidates, entries):
    """The candidates in their order, then losers held still by the index of the loser, then class samples by prompt and noise."""
    index = {key: i for i, (key, _) in enumerate(candidates)}

    def place(key):
        description = entries[key][0]
        if key in index:
            return 0, index[key], ""
        if "first_frame_of" in description:
            return 1, index[description["first_frame_of"]], ""
        return 2, 0, json.dumps([description["prompt"], description["noise"]], sort_keys=True)

    order = sorted(entries, key=place)
    found["exact"]["latents"] = len(order)
    for i, key in enumerate(order):
        description, datasets = entries[key]
        found["bytes"][f"latents/{i}/key"] = key
        if "prompt" in description and "trained" not in json.dumps(description):  # V_s and class samples: of the bare model
            found["keys"][f"latents/{i}/key"] = key
            found["keys"][f"latents/{i}/description"] = description
        latents = datasets["tensors/latents"]
        found["exact"][f"latents/{i}/shape"] = [latents.dtype, *latents.shape]
        if latents.dtype == "H5T_STD_U16LE":
            latents.values = [bfloat16(bits) for bits in latents.values]
        add_tensors(found, f"latents/{i}", {"latents": latents.values})


def bfloat16(bits):
    bits = int(bits)
    exponent, mantissa = bits >> 7 & 255, bits & 127
    value = math.ldexp(mantissa + (128 if exponent else 0), max(exponent, 1) - 134)
    return -value if bits >> 15 else value


def add_scores(found, candidates, entries):
    index = {key: i for i, (key, _) in enumerate(candidates)}
    scored = sorted((index[description["candidate"]], key) for key, (description, _) in entries.items() if description["candidate"] in index)
    found["exact"]["scores"] = [i for i, _ in scored]
    for i, key in scored:
        found["bytes"][f"scores/{i}/key"] = key
        names, values = json.loads(entries[key][1]["metadata"].text())["names"], entries[key][1]["tensors/values"].values
        for name, value in zip(names, values, strict=True):
            add_number(found, f"scores/{i}/{name}", value)
        add_tensors(found, f"scores/{i}/face_embeddings", {"": entries[key][1]["tensors/face_embeddings"].values})


def add_training(found, output, stage, files):
    """Parameters and moments that the stage ends in, each step's figures, the previews' scores."""
    result, = [file for file in files if re.search(r"checkpoint-\d+\.h5$", file) and ("/best/" in file or not any("/best/" in other for other in files))]
    found["exact"][f"{stage}/result"] = result
    tensors = hdf5_dump.read(output / result)
    for part in ("lora_A", "lora_B", "moment"):  # apart, for A's initial values would hide what B learned
        add_tensors(found, f"{stage}/{part}", {name: dataset.values for name, dataset in tensors.items() if part in name})
    lines = [json.loads(line) for line in (output / stage / "metrics.jsonl").read_text().splitlines()]
    found["exact"][f"{stage}/steps"] = [line["step"] for line in lines]
    for i, line in enumerate(lines):
        for name in STEP_FIGURES:
            if line.get(name) is not None:
                add_number(found, f"{stage}/line {i}/{name}", line[name])
        for j, video in enumerate(line.get("previews", [])):
            found["exact"][f"{stage}/line {i}/preview {j}"] = [video["prompt"], pathlib.PurePath(video["file"]).name]
            for name in ("identity", "dynamics", "semantics"):
                add_number(found, f"{stage}/line {i}/preview {j}/{name}", video[name])


def add_evaluation(found, evaluation):
    found["exact"]["evaluation"] = [[video["arm"], video["prompt"], video["sample"], video["text"], video["size"]] for video in evaluation["videos"]]
    for i, video in enumerate(evaluation["videos"]):
        for name, value in sorted(video["metrics"].items()):
            if value is None:
                found["exact"][f"evaluation/{i}/{name}"] = None
            else:
                add_number(found, f"evaluation/{i}/{name}", value)
