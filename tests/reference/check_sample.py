"""A folder of `magicid init-model`, and an adapter that a run exported, in diffusers: the same sample as `magicid sample`, within 1e-3.

A check by hand, for it needs both the built program and diffusers:

    magicid init-model --seed 1 MODEL    # or datasets/miniature, with configs/quickstart.yaml
    launch/mpirun -n 2 magicid run configs/tiny.yaml --set output=RUN --set model.folder=MODEL
    python tests/reference/check_sample.py --program PATH/magicid --model MODEL --adapter RUN/adapter/diffusers.safetensors
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import diffusers
import safetensors.torch
import torch
import transformers
from diffusers import HunyuanVideoPipeline

HEIGHT, WIDTH, FRAMES, STEPS = 64, 96, 21, 4  # 21 frames: the autoencoder works in temporal tiles
PROMPT = "a photo of a sks woman, walking along the beach at sunset"


def error(actual, expected):
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def ours(program, folder, model, latents, adapter):
    safetensors.torch.save_file({"latents": latents}, folder / "noise.safetensors")
    command = [program, "sample", "--model", model, "--prompt", PROMPT, "--height", str(HEIGHT), "--width", str(WIDTH), "--frames", str(FRAMES), "--steps", str(STEPS),
               "--initial-latents", folder / "noise.safetensors", "--latents-out", folder / "latents.safetensors", "--frames-out", folder / "frames.safetensors", "--output", folder / "out.mp4"]
    subprocess.run(command + (["--adapter", adapter] if adapter else []), check=True)
    return [safetensors.torch.load_file(folder / f"{kind}.safetensors")[kind] for kind in ("latents", "frames")]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("program", "model", "adapter"):
        parser.add_argument("--" + option, required=True)
    arguments = parser.parse_args()
    pipe = HunyuanVideoPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, pipe.transformer.config.in_channels, (FRAMES - 1) // 4 + 1, HEIGHT // pipe.vae_scale_factor_spatial, WIDTH // pipe.vae_scale_factor_spatial, generator=torch.Generator().manual_seed(7))
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}")
    worst, plain, effect = 0.0, None, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for adapter in (None, arguments.adapter):
            if adapter:
                path = pathlib.Path(adapter)
                pipe.load_lora_weights(str(path.parent), weight_name=path.name)
            reference = [pipe(prompt=PROMPT, height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=6.0, latents=latents, output_type=kind).frames for kind in ("latent", "pt")]
            actual = ours(arguments.program, pathlib.Path(temporary), arguments.model, latents, adapter)
            errors = [error(a, b) for a, b in zip(actual, reference)]
            print("with the adapter" if adapter else "without an adapter", "latents {:.2e}, frames {:.2e}".format(*errors))
            worst = max([worst, *errors])
            if adapter:
                effect = error(reference[0], plain)
                print(f"the adapter moves the latents by {effect:.2e}")
            plain = reference[0]
    # An adapter whose effect is lost in the rounding would prove nothing.
    return 0 if worst <= 1e-3 and effect > 10 * worst else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
