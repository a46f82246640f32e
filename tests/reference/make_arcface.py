"""Golden files for the face embedders: tests/data/arcface/.

Usage: python make_arcface.py OUTPUT_FOLDER

The networks are written here from their papers and from the public checkpoints' tensor names (deepinsight/insightface,
Xiaoccer/MobileFaceNet_Pytorch, TreB1eN/InsightFace_Pytorch). Weights come from formula_weights.py, pictures from smooth_images.py; the files
hold only names, shapes and embeddings. For the largest networks they hold a hash of names and shapes instead of the list.
"""
import json
import platform
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from formula_weights import fill, save_shapes
from smooth_images import smooth_images

torch.set_grad_enabled(False)


# --- IResNet -----------------------------------------------------------------------------------------------------------------

class IBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.prelu = nn.PReLU(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride=stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        skip = self.downsample(x) if hasattr(self, "downsample") else x
        return self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + skip


class IResNet(nn.Module):
    DEPTHS = {"iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3), "iresnet200": (6, 26, 60, 6)}

    def __init__(self, architecture, embedding_size=512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        cin = 64
        for i, depth in enumerate(self.DEPTHS[architecture]):
            cout = 64 * 2 ** i
            setattr(self, f"layer{i + 1}", nn.Sequential(*[IBlock(cin if j == 0 else cout, cout, 2 if j == 0 else 1) for j in range(depth)]))
            cin = cout
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 49, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


# --- MobileFaceNet -----------------------------------------------------------------------------------------------------------

def conv(cin, cout, kernel=1, stride=1, padding=0, groups=1):
    return nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False)


class Spoken(nn.Module):
    """conv, bn, prelu by these names (Xiaoccer, TreB1eN)."""

    def __init__(self, cin, cout, kernel=1, stride=1, padding=0, groups=1, linear=False):
        super().__init__()
        self.conv = conv(cin, cout, kernel, stride, padding, groups)
        self.bn = nn.BatchNorm2d(cout)
        self.prelu = nn.Identity() if linear else nn.PReLU(cout)

    def forward(self, x):
        return self.prelu(self.bn(self.conv(x)))


class Layers(nn.Module):
    """Modules under `layers.N` (insightface)."""

    def __init__(self, *modules, residual=False):
        super().__init__()
        self.layers = nn.Sequential(*modules)
        self.residual = residual

    def forward(self, x):
        return self.layers(x) + x if self.residual else self.layers(x)


class Under(nn.Module):
    """Modules in a row under one attribute `name`, with an optional residual."""

    def __init__(self, name, *modules, residual=False):
        super().__init__()
        self.name, self.residual = name, residual
        setattr(self, name, nn.Sequential(*modules))

    def forward(self, x):
        y = getattr(self, self.name)(x)
        return x + y if self.residual else y


class Xiaoccer(nn.Module):
    def __init__(self, embedding_size=128):
        super().__init__()
        self.conv1 = Spoken(3, 64, 3, 2, 1)
        self.dw_conv1 = Spoken(64, 64, 3, 1, 1, 64)
        blocks, cin = [], 64
        for t, cout, count, stride in ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)):
            for i in range(count):
                s, mid = (stride if i == 0 else 1), cin * t
                blocks.append(Under("conv", conv(cin, mid), nn.BatchNorm2d(mid), nn.PReLU(mid), conv(mid, mid, 3, s, 1, mid), nn.BatchNorm2d(mid),
                                    nn.PReLU(mid), conv(mid, cout), nn.BatchNorm2d(cout), residual=s == 1 and cin == cout))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = Spoken(128, 512)
        self.linear7 = Spoken(512, 512, (7, 6), groups=512, linear=True)
        self.linear1 = Spoken(512, embedding_size, linear=True)

    def forward(self, x):
        x = x[:, :, :, 8:104]
        return self.linear1(self.linear7(self.conv2(self.blocks(self.dw_conv1(self.conv1(x)))))).flatten(1)


class DepthWise(nn.Module):
    def __init__(self, cin, mid, cout, stride, residual=False):
        super().__init__()
        self.conv = Spoken(cin, mid)
        self.conv_dw = Spoken(mid, mid, 3, stride, 1, mid)
        self.project = Spoken(mid, cout, linear=True)
        self.residual = residual

    def forward(self, x):
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


class TreB1eN(nn.Module):
    def __init__(self, embedding_size=512):
        super().__init__()
        self.conv1 = Spoken(3, 64, 3, 2, 1)
        self.conv2_dw = Spoken(64, 64, 3, 1, 1, 64)
        self.conv_23 = DepthWise(64, 128, 64, 2)
        self.conv_3 = Under("model", *[DepthWise(64, 128, 64, 1, True) for _ in range(4)])
        self.conv_34 = DepthWise(64, 256, 128, 2)
        self.conv_4 = Under("model", *[DepthWise(128, 256, 128, 1, True) for _ in range(6)])
        self.conv_45 = DepthWise(128, 512, 128, 2)
        self.conv_5 = Under("model", *[DepthWise(128, 256, 128, 1, True) for _ in range(2)])
        self.conv_6_sep = Spoken(128, 512)
        self.conv_6_dw = Spoken(512, 512, 7, groups=512, linear=True)
        self.linear = nn.Linear(512, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(self, x):
        for module in (self.conv1, self.conv2_dw, self.conv_23, self.conv_3, self.conv_34, self.conv_4, self.conv_45, self.conv_5, self.conv_6_sep,
                       self.conv_6_dw):
            x = module(x)
        return self.bn(self.linear(x.flatten(1)))  # the public class normalises after this


def numbered(cin, cout, kernel=1, stride=1, padding=0, groups=1, linear=False):
    return Layers(conv(cin, cout, kernel, stride, padding, groups), nn.BatchNorm2d(cout), *([] if linear else [nn.PReLU(cout)]))


def numbered_bottleneck(cin, mid, cout, stride, residual=False):
    return Layers(numbered(cin, mid), numbered(mid, mid, 3, stride, 1, mid), numbered(mid, cout, linear=True), residual=residual)


class InsightFace(nn.Module):
    def __init__(self, embedding_size=512, blocks=(1, 4, 6, 2), scale=2):
        super().__init__()
        n, w = 64 * scale, 128 * scale
        row = lambda count, width, mid: Layers(*[numbered_bottleneck(width, mid, width, 1, True) for _ in range(count)])
        self.layers = nn.ModuleList([
            numbered(3, n, 3, 2, 1), numbered(n, n, 3, 1, 1, 64) if blocks[0] == 1 else row(blocks[0], n, 128), numbered_bottleneck(n, 128, n, 2),
            row(blocks[1], n, 128), numbered_bottleneck(n, 256, w, 2), row(blocks[2], w, 256), numbered_bottleneck(w, 512, w, 2), row(blocks[3], w, 256)])
        self.conv_sep = numbered(w, 512)
        self.features = Layers(numbered(512, 512, 7, groups=512, linear=True), nn.Flatten(), nn.Linear(512, embedding_size, bias=False),
                               nn.BatchNorm1d(embedding_size))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


# --- Cases -------------------------------------------------------------------------------------------------------------------

CASES = {  # name: (architecture, embedding size, module, batch)
    "iresnet18": ("iresnet18", 512, lambda: IResNet("iresnet18"), 2),
    "iresnet34_small_embedding": ("iresnet34", 33, lambda: IResNet("iresnet34", 33), 1),
    "iresnet50": ("iresnet50", 512, lambda: IResNet("iresnet50"), 1),
    "mobilefacenet_112x96": ("mobilefacenet_112x96", 128, Xiaoccer, 3),
    "mobilefacenet_112x112": ("mobilefacenet_112x112", 512, TreB1eN, 2),
    "mobilefacenet_112x112_insightface": ("mobilefacenet_112x112", 512, InsightFace, 2),
    "mobilefacenet_112x112_insightface_large": ("mobilefacenet_112x112", 256, lambda: InsightFace(256, (2, 8, 12, 4), 4), 1),
}
# Held back while the code was written, run at the end.
HELD_BACK = {
    "iresnet100": ("iresnet100", 512, lambda: IResNet("iresnet100"), 1),
    "mobilefacenet_112x96_wide": ("mobilefacenet_112x96", 200, lambda: Xiaoccer(200), 1),
}
SUMMARIES = ("iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200")


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    embeddings, cases = {}, {}
    for name, (architecture, size, build, batch) in {**CASES, **HELD_BACK}.items():
        module = build().eval()
        shapes = fill(module)
        # The deepest lists are long; iresnet's follow from the architecture and are checked by their hash below.
        if name != "iresnet100":
            save_shapes(folder / f"{name}.shapes.json", shapes)
        embeddings[name] = module(smooth_images(f"arcface.{name}", batch, 112, 112, 9))
        cases[name] = {"architecture": architecture, "embedding_size": size, "batch": batch}
        print(name, sum(p.numel() for p in module.parameters()), embeddings[name].std().item())
    save_file(embeddings, folder / "embeddings.safetensors")
    summaries = {}
    for architecture in SUMMARIES:
        module = IResNet(architecture)
        lines = sorted(f"{k}:{','.join(map(str, v.shape))}" for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked"))
        summaries[architecture] = {"parameters": sum(p.numel() for p in module.parameters()), "tensors": len(lines), "hash": fnv1a64("\n".join(lines))}
    (folder / "cases.json").write_text(json.dumps(
        {"cases": cases, "held_back": list(HELD_BACK), "summaries": summaries,
         "versions": {"python": platform.python_version(), "torch": torch.__version__}}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
