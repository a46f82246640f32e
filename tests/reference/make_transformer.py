"""Golden files for HunyuanVideo's diffusion transformer (tests/data/transformer), from diffusers' HunyuanVideoTransformer3DModel in fp32.

cases.json: for each case the configuration, the shapes of the inputs, the text lengths (null: no mask is given to ours, all ones to the
reference, which needs one), the mask's and the timestep's dtype. Weights and inputs follow formula_weights.py: an input is
formula_tensor(name) times sqrt(fan_in / 3), so uniform in [-1, 1]; timestep and guidance are written out.
<case>.safetensors: sample, the reference's output.
shapes.json: names and shapes of the state dict of two configurations.

    python tests/reference/make_transformer.py
"""
import json
import pathlib

import diffusers
import safetensors.torch
import torch
from diffusers import HunyuanVideoTransformer3DModel

from formula_weights import exact_frequencies, fill, formula_tensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "transformer"
BASE = {
    "in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "num_single_layers": 2,
    "num_refiner_layers": 2, "mlp_ratio": 4.0, "patch_size": 2, "patch_size_t": 1, "qk_norm": "rms_norm", "guidance_embeds": True,
    "text_embed_dim": 20, "pooled_projection_dim": 12, "rope_theta": 256.0, "rope_axes_dim": [4, 6, 6],
}

# name: (changes of the configuration, latents [B,T,H,W], text rows, text lengths or None, dtype of the mask, of the timestep)
CASES = {
    "plain": ({}, [1, 3, 6, 10], 7, [7], "int64", "float32"),
    "odd_grid_padded_text": ({"num_refiner_layers": 1}, [1, 5, 6, 14], 9, [4], "int64", "float32"),
    "one_frame_no_mask": ({"out_channels": 6}, [1, 1, 10, 6], 5, None, "int64", "int64"),
    "batch_uneven_text": ({}, [2, 2, 6, 4], 8, [8, 3], "float32", "float32"),
    "batch_even_text": ({"num_refiner_layers": 1}, [3, 2, 4, 6], 6, [5, 5, 5], "bool", "int64"),
    "patch_one_three_heads": ({"num_attention_heads": 3, "attention_head_dim": 24, "rope_axes_dim": [6, 10, 8], "patch_size": 1}, [1, 3, 3, 5], 6, [6], "int64", "float32"),
    "temporal_patch": ({"patch_size_t": 2, "mlp_ratio": 3.0}, [1, 4, 6, 6], 6, [2], "int64", "float32"),
    "no_guidance": ({"guidance_embeds": False, "mlp_ratio": 2.5}, [1, 2, 4, 6], 4, [1], "int64", "float32"),
    "no_double_blocks": ({"num_layers": 0, "rope_theta": 100.0}, [1, 3, 4, 6], 5, [3], "int64", "float32"),
    "no_single_blocks": ({"num_single_layers": 0}, [2, 3, 4, 6], 5, [2, 5], "int64", "float32"),
    # Left aside until the implementation was finished.
    "late_mixed": ({"num_attention_heads": 3, "attention_head_dim": 20, "rope_axes_dim": [2, 10, 8], "num_layers": 1, "num_single_layers": 3, "mlp_ratio": 3.0, "out_channels": 3, "patch_size_t": 2},
                   [3, 6, 10, 2], 11, [3, 11, 3], "float32", "float32"),
    "late_one_head": ({"num_attention_heads": 1, "attention_head_dim": 40, "rope_axes_dim": [0, 22, 18], "patch_size": 3, "guidance_embeds": False, "qk_norm": None},
                      [2, 3, 9, 15], 3, [2, 1], "bool", "int64"),
}


def formula_input(name, shape):
    tensor = formula_tensor(name, shape)
    return tensor * (tensor[0].numel() / 3.0) ** 0.5


def run(changes, latents, rows, lengths, mask_type, time_type):
    config = {**BASE, **changes}
    model = HunyuanVideoTransformer3DModel(**config).eval()
    shapes = fill(model)
    batch = latents[0]
    timestep = [999.0 - 313.0 * b for b in range(batch)]
    guidance = [6000.0 - 1250.0 * b for b in range(batch)]
    mask = torch.zeros(batch, rows)
    for b in range(batch):
        mask[b, : lengths[b] if lengths else rows] = 1
    case = {"config": config, "hidden_states": [batch, config["in_channels"], *latents[1:]], "encoder_hidden_states": [batch, rows, config["text_embed_dim"]],
            "pooled_projections": [batch, config["pooled_projection_dim"]], "text_lengths": lengths, "mask_dtype": mask_type, "timestep_dtype": time_type,
            "timestep": timestep, "guidance": guidance, "parameters": sum(p.numel() for p in model.parameters())}
    with torch.no_grad():
        sample = model(
            hidden_states=formula_input("hidden_states", case["hidden_states"]),
            timestep=torch.tensor(timestep).to(getattr(torch, time_type)),
            encoder_hidden_states=formula_input("encoder_hidden_states", case["encoder_hidden_states"]),
            encoder_attention_mask=mask.to(getattr(torch, mask_type)),
            pooled_projections=formula_input("pooled_projections", case["pooled_projections"]),
            guidance=torch.tensor(guidance) if config["guidance_embeds"] else None,
            return_dict=False,
        )[0]
    return case, {"sample": sample.contiguous()}, shapes


def main():
    exact_frequencies()
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    cases, shapes = {}, {}
    for name, arguments in CASES.items():
        cases[name], tensors, state = run(*arguments)
        if name in ("one_frame_no_mask", "late_one_head"):
            shapes[name] = state
        safetensors.torch.save_file(tensors, OUT / f"{name}.safetensors", metadata=versions)
        print(name, list(tensors["sample"].shape), f"std {tensors['sample'].std():.3f}")
    for file, content in (("cases.json", {"versions": versions, "cases": cases}), ("shapes.json", shapes)):
        with open(OUT / file, "w") as out:
            json.dump(content, out, indent=1 if file == "cases.json" else None, sort_keys=True)
            out.write("\n")


if __name__ == "__main__":
    main()
