#include "diffusion/sampler.h"

#include <c10/core/GradMode.h>

namespace magicid::diffusion {

at::Tensor sample(const NoiseSchedule& schedule, const at::Tensor& latents, const Velocity& velocity, const StepCallback& after_step, int recorded) {
  const bool wanted = c10::GradMode::is_enabled();
  at::Tensor current = latents.to(at::kFloat);
  for (int step = 0; step < schedule.steps(); ++step) {
    const c10::AutoGradMode grad(wanted && step >= schedule.steps() - recorded);
    const double timestep = schedule.timesteps[static_cast<std::size_t>(step)];
    current = euler_step(schedule, step, current, velocity(current, timestep, step));
    if (after_step) after_step({step, schedule.steps(), timestep, schedule.sigmas[static_cast<std::size_t>(step) + 1], current});
  }
  return current;
}

}  // namespace magicid::diffusion
