"""Golden files for RAFT: tests/data/raft/.

Usage: python make_raft.py OUTPUT_FOLDER

The reference is torchvision's raft_large and raft_small. Weights come from formula_weights.py, with one change: the last convolution of the
flow head is scaled by FLOW_HEAD_GAIN, so that an update moves the flow by a fraction of a position as in a trained network (unscaled, random
weights make the recurrence chaotic, and rounding differences grow with every update). Pictures come from smooth_images.py: the second is the
first one moved, with some noise. Of a flow every fifth row and column is kept, which meets all 8 x 8 phases of the upsampling.
"""
import json
import platform
import sys
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_large, raft_small

from formula_weights import fill, save_shapes
from smooth_images import smooth_images

torch.set_grad_enabled(False)
FLOW_HEAD_GAIN = 0.1
CASES = {  # name: (architecture, batch, height, width, updates)
    "small_1": ("raft_small", 1, 128, 128, 1),
    "small_12": ("raft_small", 2, 128, 168, 12),
    "small_20": ("raft_small", 1, 136, 128, 20),
    "large_1": ("raft_large", 1, 128, 136, 1),
    "large_12": ("raft_large", 1, 144, 128, 12),
}
HELD_BACK = {  # while the code was written, run at the end
    "small_20_wide": ("raft_small", 3, 128, 256, 20),
    "large_20": ("raft_large", 2, 128, 152, 20),
}


def pictures(name, batch, height, width):
    first = smooth_images(f"raft.{name}.first", batch, height, width, 24)
    noise = smooth_images(f"raft.{name}.noise", batch, height, width, 24)
    return first, 0.9 * torch.roll(first, (3, -5), (2, 3)) + 0.1 * noise


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    networks = {}
    for architecture, build in (("raft_small", raft_small), ("raft_large", raft_large)):
        networks[architecture] = build().eval()
        save_shapes(folder / f"{architecture}.shapes.json", fill(networks[architecture]))
        networks[architecture].update_block.flow_head.conv2.weight.mul_(FLOW_HEAD_GAIN)
    flows = {}
    for name, (architecture, batch, height, width, updates) in {**CASES, **HELD_BACK}.items():
        predictions = networks[architecture](*pictures(name, batch, height, width), updates)
        flows[name] = predictions[-1][:, :, ::5, ::5].contiguous()
        print(name, [round(p.abs().max().item(), 2) for p in predictions])
    save_file(flows, folder / "flows.safetensors")
    keys = ("architecture", "batch", "height", "width", "updates")
    (folder / "cases.json").write_text(json.dumps(
        {"cases": {n: dict(zip(keys, c)) for n, c in {**CASES, **HELD_BACK}.items()}, "held_back": list(HELD_BACK), "flow_head_gain": FLOW_HEAD_GAIN,
         "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in networks.items()},
         "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
