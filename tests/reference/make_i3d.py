#!/usr/bin/env python3
"""A small TorchScript network with the call of i3d_torchscript.pt, and features of it (tests/data/i3d/).

The preprocessing is that of universome/stylegan-v's FVD: short side to 224, bilinear, centre crop, -1..1.
"""
import io
import json
import pathlib
import zipfile

import torch
from safetensors.torch import save_file

from smooth_images import smooth_images

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "i3d"
CASES = {"square": (10, 64, 64), "landscape": (13, 45, 80), "portrait": (11, 90, 57), "large": (10, 240, 320)}


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv3d(3, 4, (3, 7, 7), stride=(2, 8, 8), padding=(1, 3, 3))
        self.norm = torch.nn.BatchNorm3d(4)
        self.head = torch.nn.Linear(4 * 4, 12)
        self.classes = torch.nn.Linear(12, 5)

    def forward(self, x, rescale: bool = True, resize: bool = True, return_features: bool = False):
        if resize:
            raise RuntimeError("resize was asked for")
        if rescale:
            x = 2 * x - 1
        x = torch.nn.functional.adaptive_avg_pool3d(torch.relu(self.norm(self.stem(x))), (1, 2, 2)).flatten(1)
        features = self.head(x)
        return features if return_features else torch.softmax(self.classes(features), 1)


def save_program(network, path):
    """Without the debug files, which name the folders of the machine."""
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(network), whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = Small().train()
    with torch.no_grad():  # running statistics that differ from those of a fresh network
        network(torch.rand(2, 3, 10, 224, 224) * 2 - 1, rescale=False, resize=False)
    network.eval()
    save_program(network, OUT / "small.pt")
    features = {}
    for name, (frames, height, width) in CASES.items():
        video = smooth_images("i3d." + name, frames, height, width, 5) * 0.5 + 0.5
        shorter = min(height, width)
        size = [224 if s == shorter else -(-s * 224 // shorter) for s in (height, width)]
        scaled = torch.nn.functional.interpolate(video, size=size, mode="bilinear", align_corners=False)
        top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
        inputs = (scaled[:, :, top:top + 224, left:left + 224] - 0.5) * 2
        with torch.no_grad():
            features[name] = network(inputs.permute(1, 0, 2, 3)[None], rescale=False, resize=False, return_features=True)[0]
    save_file(features, str(OUT / "features.safetensors"))
    (OUT / "cases.json").write_text(json.dumps({"versions": {"torch": torch.__version__}, "cases": CASES}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
