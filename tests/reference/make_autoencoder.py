"""Golden files for HunyuanVideo's autoencoder (tests/data/autoencoder), from diffusers' AutoencoderKLHunyuanVideo in fp32.

cases.json: for each case the configuration, the options that differ from diffusers' defaults and the shape of the input. Weights and
inputs follow formula_weights.py: the sample is formula_tensor("sample") scaled to [-1,1], the latents are formula_tensor("latents")
times sqrt(fan_in), so uniform in [-sqrt(3), sqrt(3)].
<case>.safetensors: mean, logvar (after clamping) of the sample, and the decoded latents.
default_shapes.json: names and shapes of the parameters of the default configuration.

    python tests/reference/make_autoencoder.py
"""
import json
import pathlib

import diffusers
import safetensors.torch
import torch
from diffusers import AutoencoderKLHunyuanVideo

from formula_weights import fill, formula_tensor, save_shapes

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "autoencoder"
LEVELS_4 = {"block_out_channels": [4, 8, 8, 8], "norm_num_groups": 2, "latent_channels": 4, "layers_per_block": 2}
LEVELS_3 = {"block_out_channels": [4, 8, 8], "norm_num_groups": 4, "latent_channels": 2, "layers_per_block": 1, "spatial_compression_ratio": 4}
SMALL_TILES = {"use_tiling": True, "tile_sample_min_height": 16, "tile_sample_min_width": 16, "tile_sample_stride_height": 8, "tile_sample_stride_width": 8}

# name: (configuration, options, shape of the sample)
CASES = {
    "one_frame": (LEVELS_4, {}, [1, 3, 1, 16, 24]),
    "odd_frames": (LEVELS_4, {}, [2, 3, 5, 8, 24]),
    "nine_frames_one_layer_no_attention": ({**LEVELS_4, "layers_per_block": 1, "mid_block_add_attention": False}, {}, [1, 3, 9, 8, 24]),
    "framewise_17": (LEVELS_4, {}, [1, 3, 17, 8, 16]),
    "framewise_21_batch": (LEVELS_3, {}, [2, 3, 21, 8, 4]),
    "direct_21": (LEVELS_3, {"use_framewise_encoding": False, "use_framewise_decoding": False}, [1, 3, 21, 12, 8]),
    "spatial_tiles": ({**LEVELS_4, "layers_per_block": 1}, SMALL_TILES, [1, 3, 5, 24, 40]),
    "spatial_and_temporal_tiles": (
        LEVELS_3,
        {"use_tiling": True, "tile_sample_min_height": 12, "tile_sample_min_width": 8, "tile_sample_stride_height": 8,
         "tile_sample_stride_width": 4, "tile_sample_min_num_frames": 8, "tile_sample_stride_num_frames": 4},
        [1, 3, 13, 20, 12],
    ),
    "five_levels_ratio_16": ({**LEVELS_4, "block_out_channels": [2, 4, 4, 8, 8], "layers_per_block": 1, "spatial_compression_ratio": 16}, {}, [1, 3, 5, 16, 32]),
    "ratio_2_grey": ({**LEVELS_4, "in_channels": 1, "out_channels": 1, "spatial_compression_ratio": 2}, {}, [1, 1, 5, 6, 10]),
    # Sizes that the compression does not divide: the reference takes them too.
    "uneven_sizes": (LEVELS_3, {**SMALL_TILES, "tile_sample_min_num_frames": 8, "tile_sample_stride_num_frames": 8}, [1, 3, 15, 10, 27]),
    "temporal_tile_of_one_frame": (LEVELS_3, {}, [1, 3, 25, 8, 8]),
}


def formula_input(name, shape, bound):
    tensor = formula_tensor(name, shape)
    fan_in = tensor[0].numel()
    return tensor * (bound * (fan_in / 3.0) ** 0.5)


def run(config, options, sample_shape):
    levels = len(config["block_out_channels"])
    config = {**config, "down_block_types": ["HunyuanVideoDownBlock3D"] * levels, "up_block_types": ["HunyuanVideoUpBlock3D"] * levels}
    model = AutoencoderKLHunyuanVideo(**config).eval()
    fill(model)
    for key, value in options.items():
        assert hasattr(model, key)
        setattr(model, key, value)
    ratio, batch, frames, height, width = model.spatial_compression_ratio, sample_shape[0], *sample_shape[2:]
    latents_shape = [batch, model.config.latent_channels, (frames - 1) // 4 + 1, height // ratio, width // ratio]
    with torch.no_grad():
        posterior = model.encode(formula_input("sample", sample_shape, 1.0)).latent_dist
        decoded = model.decode(formula_input("latents", latents_shape, 3**0.5)).sample
    case = {"config": dict(model.config), "options": options, "sample_shape": sample_shape, "latents_shape": latents_shape,
            "parameters": sum(p.numel() for p in model.parameters())}
    case["config"] = {k: v for k, v in case["config"].items() if k != "_use_default_values"}
    return case, {"mean": posterior.mean, "logvar": posterior.logvar, "decoded": decoded}


def main():
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    cases = {}
    for name, (config, options, shape) in CASES.items():
        cases[name], tensors = run(config, options, shape)
        assert all(torch.isfinite(t).all() for t in tensors.values())
        safetensors.torch.save_file({k: t.contiguous() for k, t in tensors.items()}, OUT / f"{name}.safetensors", metadata=versions)
        print(name, {k: (list(t.shape), round(t.std().item(), 3)) for k, t in tensors.items()})
    with open(OUT / "cases.json", "w") as out:
        json.dump({"versions": versions, "cases": cases}, out, indent=1)
        out.write("\n")
    with torch.device("meta"):
        save_shapes(OUT / "default_shapes.json", {name: list(t.shape) for name, t in AutoencoderKLHunyuanVideo().state_dict().items()})


if __name__ == "__main__":
    main()
