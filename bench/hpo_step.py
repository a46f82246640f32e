"""The counterpart of hpo_step.cpp with diffusers and PEFT: winner and loser, policy and reference as two adapters of one model; same output.

    python bench/hpo_step.py TRANSFORMER_FOLDER none|full [REPEATS] [SAMPLES] [FRAMES]

The preference loss as it is written in DPO trainers: errors of both branches with graph, those of the reference without, one backward. `full` is diffusers' gradient checkpointing.
"""
import json
import os
import resource
import sys
import time

import torch
from diffusers import HunyuanVideoTransformer3DModel
from peft import LoraConfig

ROWS, COLUMNS, TEXT_ROWS, LORA_RANK, BETA = 32, 32, 64, 16, 2000
TARGETS = (r"(transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2))"
           r"|single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out))")


def main():
    folder, recompute = sys.argv[1:3]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    samples = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    frames = int(sys.argv[5]) if len(sys.argv) > 5 else 8
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    model = HunyuanVideoTransformer3DModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    model.requires_grad_(False)
    for name in ("policy", "reference"):
        model.add_adapter(LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=TARGETS), adapter_name=name)
    if recompute != "none":
        model.enable_gradient_checkpointing()
    config = model.config
    winner, loser, noise = (torch.randn(1, config.in_channels, frames, ROWS, COLUMNS) for _ in range(3))
    condition = {
        "timestep": torch.full((1,), 500.0),
        "encoder_hidden_states": torch.randn(1, TEXT_ROWS, config.text_embed_dim),
        "encoder_attention_mask": torch.ones(1, TEXT_ROWS, dtype=torch.int64),
        "pooled_projections": torch.randn(1, config.pooled_projection_dim),
        "guidance": torch.full((1,), 6000.0),
        "return_dict": False,
    }

    def error(adapter, x):
        model.set_adapter(adapter)
        return torch.nn.functional.mse_loss(model(hidden_states=0.5 * x + 0.5 * noise, **condition)[0], noise - x)

    parameters = [p for n, p in model.named_parameters() if ".policy." in n]
    seconds = []
    for i in range(-1, repeats):
        start = time.perf_counter()
        for _ in range(samples):
            with torch.no_grad():
                reference = [error("reference", x) for x in (winner, loser)]
            policy = [error("policy", x) for x in (winner, loser)]
            d_winner, d_loser = policy[0] - reference[0], policy[1] - reference[1]
            (torch.nn.functional.softplus(BETA / 2 * (d_winner - d_loser)) / samples).backward()
        for p in parameters:
            p.grad = None
        if i >= 0:
            seconds.append(round(time.perf_counter() - start, 6))
    print(json.dumps({"layout": "diffusers and PEFT", "seconds": seconds, "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
