#include "objectives/velocity_error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

namespace magicid::objectives {

at::Tensor velocity_error(const models::hunyuan_video::Transformer& transformer, const models::hunyuan_video::Adapter* adapter, const NoisySample& sample,
                          const models::text::PromptEmbeddings& condition, double guidance,
                          const Execution& execution) {
  namespace hv = models::hunyuan_video;
  const auto precise = at::TensorOptions().device(transformer.placement().device).dtype(sample.latents.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor x0 = sample.latents.to(precise), noise = sample.noise.to(precise);
  models::hunyuan_video::TransformerInputs inputs;
  inputs.hidden_states = x0 * (1 - sample.sigma) + noise * sample.sigma;
  inputs.timestep = at::full({1}, 1000 * sample.sigma, precise);
  inputs.encoder_hidden_states = condition.prompt_embeds.to(precise.device());
  inputs.encoder_attention_mask = condition.prompt_attention_mask.to(precise.device());
  inputs.pooled_projections = condition.pooled_prompt_embeds.to(precise.device());
  inputs.guidance = at::full({1}, 1000 * guidance, precise);
  models::generator::JointAttention& attention = execution.ranks ? execution.ranks->attention() : models::generator::local_joint_attention();
  const at::Tensor velocity = transformer.forward_tokens(inputs, adapter, attention, execution.recompute).to(x0.scalar_type());
  const at::Tensor target = transformer.patchify(noise - x0);
  const models::generator::TokenRange range = attention.video_range(target.size(1));
  if (range.count == target.size(1)) return (velocity - target).square().mean();
  return (velocity - target.narrow(1, range.begin, range.count)).square().sum() / static_cast<double>(target.numel());
}

}  // namespace magicid::objectives
