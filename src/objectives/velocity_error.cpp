#include "objectives/velocity_error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

namespace magicid::objectives {

at::Tensor velocity_error(const models::hunyuan_video::Transformer& transformer, const models::hunyuan_video::Adapter* adapter, const NoisySample& sample,
                          const models::text::PromptEmbeddings& condition, double guidance) {
  const auto precise = at::TensorOptions().device(transformer.placement().device).dtype(sample.latents.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor x0 = sample.latents.to(precise), noise = sample.noise.to(precise);
  models::hunyuan_video::TransformerInputs inputs;
  inputs.hidden_states = x0 * (1 - sample.sigma) + noise * sample.sigma;
  inputs.timestep = at::full({1}, 1000 * sample.sigma, precise);
  inputs.encoder_hidden_states = condition.prompt_embeds.to(precise.device());
  inputs.encoder_attention_mask = condition.prompt_attention_mask.to(precise.device());
  inputs.pooled_projections = condition.pooled_prompt_embeds.to(precise.device());
  inputs.guidance = at::full({1}, 1000 * guidance, precise);
  const at::Tensor velocity = transformer.forward_tokens(inputs, adapter).to(x0.scalar_type());
  const at::Tensor difference = velocity - transformer.patchify(noise - x0);
  return difference.square().mean();
}

}  // namespace magicid::objectives
