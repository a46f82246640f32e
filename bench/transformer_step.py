"""The counterpart of transformer_step.cpp with diffusers and PEFT; same arguments, same output.

    python bench/transformer_step.py TRANSFORMER_FOLDER forward|train [float32|bfloat16] [REPEATS] [none|full]
"""
import json
import os
import resource
import sys
import time

import torch
from diffusers import HunyuanVideoTransformer3DModel

FRAMES, ROWS, COLUMNS, TEXT_ROWS, LORA_RANK = 8, 32, 32, 64, 16
# The modules of the blocks that transformer_step.cpp adapts as fused ones, under diffusers' names.
TARGETS = (r"(transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)|ff(_context)?\.net\.(0\.proj|2))"
           r"|single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out))")


def main():
    folder, mode = sys.argv[1:3]
    dtype = getattr(torch, sys.argv[3]) if len(sys.argv) > 3 else torch.float32
    repeats = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    model = HunyuanVideoTransformer3DModel.from_pretrained(folder, torch_dtype=dtype).eval()
    model.requires_grad_(False)
    train = mode == "train"
    if train:
        from peft import LoraConfig

        model.add_adapter(LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=TARGETS))
    if len(sys.argv) > 5 and sys.argv[5] != "none":
        model.enable_gradient_checkpointing()
    config = model.config
    parameters = [p for p in model.parameters() if p.requires_grad]
    inputs = {
        "hidden_states": torch.randn(1, config.in_channels, FRAMES, ROWS, COLUMNS).to(dtype),
        "timestep": torch.full((1,), 500.0),
        "encoder_hidden_states": torch.randn(1, TEXT_ROWS, config.text_embed_dim).to(dtype),
        "encoder_attention_mask": torch.ones(1, TEXT_ROWS, dtype=torch.int64),
        "pooled_projections": torch.randn(1, config.pooled_projection_dim).to(dtype),
        "guidance": torch.full((1,), 6000.0),
        "return_dict": False,
    }
    target = torch.randn(1, config.out_channels, FRAMES, ROWS, COLUMNS)
    seconds = []
    with torch.set_grad_enabled(train):
        for i in range(-1, repeats):
            start = time.perf_counter()
            if train:
                torch.nn.functional.mse_loss(model(**inputs)[0].float(), target).backward()
                for p in parameters:
                    p.grad = None
            else:
                model(**inputs)
            if i >= 0:
                seconds.append(round(time.perf_counter() - start, 6))
    print(json.dumps({"seconds": seconds, "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
