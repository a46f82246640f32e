#!/usr/bin/env python3
"""Compares the names and shapes of `magicid init-model --size hunyuanvideo FOLDER` with the reference classes, built on PyTorch's meta device.

Usage: check_full_size.py FOLDER      run with diffusers 0.42.1, transformers 5.24, torchvision 0.26 (torch 2.11); prints a line a network, exit code 1 when one differs

The configurations are those of the released models: diffusers' defaults of HunyuanVideoTransformer3DModel and AutoencoderKLHunyuanVideo, Llama-3-8B with
Tencent's vocabulary of 128320, openai/clip-vit-large-patch14 (text and whole), torchvision's raft_large.
"""
import json
import pathlib
import struct
import sys

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel


def written(folder):
    """{name: (dtype, shape)} of every safetensors file of a folder, from the headers; the index must name them all."""
    found, where = {}, {}
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        header.pop("__metadata__", None)
        assert not found.keys() & header.keys(), f"{file}: a tensor stands in two shards"
        found.update({name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()})
        where.update({name: file.name for name in header})
    for index in folder.glob("*.index.json"):
        assert json.loads(index.read_text())["weight_map"] == where, f"{index}: does not name the shards' tensors"
    return found


def reference(make):
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


def without(prefix, names):
    return {name.removeprefix(prefix): shape for name, shape in names.items()}


def raft():
    from torchvision.models.optical_flow import raft_large
    return raft_large(weights=None)


TEXT = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)
VISION = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224, patch_size=14, projection_dim=768)
NETWORKS = {
    "transformer": ("BF16", HunyuanVideoTransformer3DModel, ""),
    "vae": ("F32", AutoencoderKLHunyuanVideo, ""),
    "text_encoder": ("F16", lambda: LlamaModel(LlamaConfig(vocab_size=128320, intermediate_size=14336, num_key_value_heads=8, rms_norm_eps=1e-5)), ""),
    "text_encoder_2": ("F16", lambda: CLIPTextModel(CLIPTextConfig(**TEXT)), "text_model."),
    "rewards/raft": ("F32", raft, ""),
    "rewards/clip": ("F32", lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=768)), ""),
}


def main():
    folder, wrong = pathlib.Path(sys.argv[1]), 0
    for part, (dtype, make, prefix) in NETWORKS.items():
        ours = {name: entry for name, entry in written(folder / part).items()}
        shapes = without(prefix, {name: shape for name, (_, shape) in ours.items()})
        theirs = {name: shape for name, shape in without(prefix, reference(make)).items() if not name.endswith("position_ids")}
        dtypes = {d for name, (d, _) in ours.items() if not name.endswith("num_batches_tracked")}
        numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
        same = shapes == theirs and dtypes == {dtype}
        wrong += not same
        print(f"{part}: {len(shapes)} tensors, {numbers:,} numbers, {sorted(dtypes)}: {'as the reference' if same else 'DIFFERS'}")
        for name in sorted(shapes.keys() ^ theirs.keys())[:10]:
            print(f"  {name}: {'only here' if name in shapes else 'only in the reference'}")
        for name in sorted(n for n in shapes.keys() & theirs.keys() if shapes[n] != theirs[n])[:10]:
            print(f"  {name}: {shapes[name]} here, {theirs[name]} in the reference")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
