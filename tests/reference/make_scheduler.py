"""Golden files for the flow-matching scheduler (tests/data/scheduler), from diffusers' FlowMatchEulerDiscreteScheduler, set up as
HunyuanVideoPipeline.__call__ does.

schedules.json: sigmas and timesteps for step counts and shifts, exact fp32 numbers.
trajectory.safetensors: latents after each step of a run whose velocity is a formula (see velocity()), and a noised sample (scale_noise).

    python tests/reference/make_scheduler.py
"""
import json
import math
import pathlib

import diffusers
import numpy as np
import safetensors.torch
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import retrieve_timesteps

from formula_weights import formula_tensor

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "scheduler"
STEPS = [1, 2, 3, 5, 7, 30, 50]
SHIFTS = [1.0, 1.5, 3.0, 7.0, 4.3]
SHAPE = [1, 4, 3, 5, 7]


def scheduler_with(shift, steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    timesteps, count = retrieve_timesteps(scheduler, steps, "cpu", sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
    assert count == steps
    return scheduler, timesteps


def velocity(latents, timestep, target):
    return 0.3 * latents + math.sin(timestep / 100) * target


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "numpy": np.__version__}
    schedules = []
    for shift in SHIFTS:
        for steps in STEPS:
            scheduler, timesteps = scheduler_with(shift, steps)
            schedules.append({"shift": shift, "steps": steps, "sigmas": scheduler.sigmas.tolist(), "timesteps": timesteps.tolist()})
    with open(OUT / "schedules.json", "w") as out:
        json.dump({"versions": versions, "schedules": schedules, "default_config": dict(FlowMatchEulerDiscreteScheduler(shift=7.0).config)}, out)
        out.write("\n")

    scheduler, timesteps = scheduler_with(7.0, 5)
    scheduler.set_begin_index(0)
    latents, target = formula_tensor("latents", SHAPE), formula_tensor("target", SHAPE)
    tensors = {}
    for step, timestep in enumerate(timesteps):
        latents = scheduler.step(velocity(latents, timestep.item(), target), timestep, latents, return_dict=False)[0]
        tensors[f"latents.{step}"] = latents
    trained = FlowMatchEulerDiscreteScheduler(shift=3.0)
    x0, noise = formula_tensor("x0", [3, 2, 4]), formula_tensor("noise", [3, 2, 4])
    chosen = trained.timesteps[[10, 500, 990]]
    tensors["noised"], tensors["noised_sigma"] = trained.scale_noise(x0, chosen, noise), trained.sigmas[[10, 500, 990]]
    safetensors.torch.save_file({k: t.contiguous() for k, t in tensors.items()}, OUT / "trajectory.safetensors", metadata=versions)


if __name__ == "__main__":
    main()
