"""Golden figures for tests/unit/rewards, by NumPy and PyTorch in the words of the formulas.

Run: python tests/reference/make_rewards.py        (writes tests/data/rewards)
"""
import json
import pathlib

import numpy as np
import torch

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "rewards"


def fraction(name, count):
    """Numbers in -1..1 that C++ makes too: a linear congruential generator seeded by the name's length."""
    state, values = len(name) * 7919 + 17, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2147483648
        values.append(state / 1073741824.0 - 1)
    return np.array(values)


def cosines(a, b):
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    golden = {"versions": {"numpy": np.__version__, "torch": torch.__version__}}

    golden["linspace"] = {f"{frames},{count}": np.linspace(0, frames - 1, count, dtype=int).tolist()
                          for frames in (17, 18, 29, 31, 33, 49, 61, 77, 121, 129, 241) for count in (2, 7, 16) if frames > count}
    golden["flow_step"] = {str(fps): max(1, round(fps / 8)) for fps in (1, 3, 4, 8, 12, 15, 16, 20, 23.976, 24, 25, 28, 30, 50, 60)}

    frames, references, text = fraction("frames", 5 * 6).reshape(5, 6), fraction("references", 3 * 6).reshape(3, 6), fraction("text", 6)
    found = np.array([1, 0, 1, 1, 0], bool)
    c = cosines(frames, references)
    centroid = references / np.linalg.norm(references, axis=1, keepdims=True)
    aggregated = {"mean": c.mean(1), "max": c.max(1), "centroid": cosines(frames, centroid.mean(0, keepdims=True))[:, 0]}
    golden["identity"] = {name: {"reward": float(np.where(found, v, 0).mean()), "metric": float(np.maximum(v[found], 0).mean())} for name, v in aggregated.items()}
    golden["clip_text"] = float(100 * cosines(frames, text[None]).mean())
    golden["clip_image"] = float(100 * c.mean())
    features = torch.from_numpy(frames)
    golden["temporal_consistency"] = float(torch.nn.functional.cosine_similarity(features[:-1], features[1:]).mean())

    flow = fraction("flow of a pair", 2 * 13 * 17).reshape(2, 13, 17) * 9
    radius = np.sqrt(flow[0] ** 2 + flow[1] ** 2)
    top = np.sort(-radius.flatten())[: int(13 * 17 * 0.05)]  # as VBench cuts
    golden["motion"] = float(np.mean(np.abs(top)))

    values = fraction("quantiles", 23)
    golden["quantiles"] = {str(q): float(np.quantile(values, q)) for q in (0, 0.05, 0.25, 0.5, 0.77, 1)}
    golden["normalised"] = (1 + 9 * (values - values.min()) / (values.max() - values.min())).tolist()

    with open(OUT / "golden.json", "w") as out:
        json.dump(golden, out, separators=(",", ":"), sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main()
