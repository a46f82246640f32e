// The denoising loop, for any model.
//
// Latents and timesteps stay in fp32 for the whole loop, as in Tencent's implementation; the velocity callback casts its input to the
// model's dtype. diffusers instead rounds latents to the model's dtype after each step (and with them, from the second step on, the
// timestep): in fp32 both agree, in bf16 they do not.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <limits>

#include "diffusion/flow_match_scheduler.h"

namespace magicid::diffusion {

// latents (fp32), timestep (sigma * num_train_timesteps), step (from 0) -> velocity of the latents' shape, any floating dtype. Guidance
// happens in here.
using Velocity = std::function<at::Tensor(const at::Tensor& latents, double timestep, int step)>;

// What is known after a step was taken.
struct StepState {
  int step, steps;              // step counts from 0
  double timestep, sigma_next;  // the model ran at `timestep`; latents are now at noise level sigma_next
  const at::Tensor& latents;
};
// For progress, previews, and polling of queues and signals. It may throw to stop the loop.
using StepCallback = std::function<void(const StepState&)>;

// From noise to latents along the schedule. `latents` [B,C,T,H,W], any floating dtype, taken as they are at schedule.sigmas[0]; returns fp32 on
// the same device. Gradients are recorded in the last `recorded` steps alone, if grad mode is on.
at::Tensor sample(const NoiseSchedule& schedule, const at::Tensor& latents, const Velocity& velocity, const StepCallback& after_step = {},
                  int recorded = std::numeric_limits<int>::max());

}  // namespace magicid::diffusion
