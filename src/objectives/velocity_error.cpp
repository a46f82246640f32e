#include "objectives/velocity_error.h"

#include <ATen/TensorOperators.h>

namespace magicid::objectives {

at::Tensor velocity_error(const models::generator::Denoiser& denoiser, const models::generator::Adapter* adapter, const NoisySample& sample,
                          const models::generator::Condition& condition, double guidance, const Execution& execution) {
  const auto precise = at::TensorOptions().device(denoiser.placement().device).dtype(sample.latents.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor x0 = sample.latents.to(precise), noise = sample.noise.to(precise);
  const models::generator::DenoiserInputs inputs{.latents = x0 * (1 - sample.sigma) + noise * sample.sigma,
                                                 .timestep = 1000 * sample.sigma,
                                                 .guidance = guidance,
                                                 .condition = condition.to(precise.device())};
  models::generator::JointAttention& attention = execution.ranks ? execution.ranks->attention() : models::generator::local_joint_attention();
  const at::Tensor velocity = denoiser.velocity_tokens(inputs, adapter, {attention, execution.recompute}).to(x0.scalar_type());
  const at::Tensor target = denoiser.patchify(noise - x0);
  const models::generator::TokenRange range = attention.video_range(target.size(1));
  if (range.count == target.size(1)) return (velocity - target).square().mean();
  return (velocity - target.narrow(1, range.begin, range.count)).square().sum() / static_cast<double>(target.numel());
}

}  // namespace magicid::objectives
