#include "objectives/text_to_video.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include "base/random.h"
#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"

namespace magicid::objectives {

TextToVideo::TextToVideo(models::hunyuan_video::TransformerConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, TextToVideoBatches batches,
                         TextToVideoBatch empty, const TextToVideoOptions& options, std::uint64_t seed)
    : config_(std::move(config)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)), empty_(std::move(empty)), options_(options), seed_(seed) {
  if (!config_.guidance_embeds) options_.distill_from = 0;
}

std::vector<double> TextToVideo::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const TextToVideoBatch batch = batches_(step, slot, global_batch);
  const auto options = parameters_.values().options();
  const std::int64_t items = batch.latents.size(0);
  const at::Tensor x0 = batch.latents.to(options);
  const at::Tensor noise = diffusion::initial_noise(seed_, "text-to-video-noise", x0.sizes(), static_cast<std::uint64_t>(step * global_batch + slot)).to(options);
  std::vector<double> sigmas, guidances;
  const bool distil = distils(step, slot);
  const base::CounterRandom random(seed_, "text-to-video-guidance");
  for (std::int64_t i = 0; i < items; ++i) {
    sigmas.push_back(diffusion::sample_sigma(seed_, static_cast<std::uint64_t>(step), slot * items + i, global_batch * items, options_.shift));
    guidances.push_back(distil ? 1 + (options_.distill_guidance - 1) * random.uniform(static_cast<std::uint64_t>(step * global_batch + slot), static_cast<std::uint64_t>(i)) : 1.0);
  }
  const at::Tensor sigma = at::tensor(sigmas, at::kDouble).to(options), guidance = at::tensor(guidances, at::kDouble).to(options);

  models::hunyuan_video::TransformerInputs inputs;
  inputs.hidden_states = diffusion::add_noise(x0, noise, sigma);
  inputs.timestep = sigma * 1000;
  inputs.encoder_hidden_states = batch.prompt_embeds;
  inputs.encoder_attention_mask = batch.prompt_mask;
  inputs.pooled_projections = batch.pooled;
  inputs.guidance = guidance * 1000;
  const auto network = models::hunyuan_video::Transformer::load(config_, parameters_.weights(dtype_));
  at::Tensor target;
  if (distil) {
    const c10::AutoGradMode no_grad(false);
    auto teacher = inputs;
    teacher.guidance = at::full_like(guidance, 1000);
    const at::Tensor with_prompt = network.forward_tokens(teacher).to(at::kFloat);
    teacher.encoder_hidden_states = empty_.prompt_embeds.expand({items, -1, -1});
    teacher.encoder_attention_mask = empty_.prompt_mask.expand({items, -1});
    teacher.pooled_projections = empty_.pooled.expand({items, -1});
    const at::Tensor without = network.forward_tokens(teacher).to(at::kFloat);
    target = without + (with_prompt - without) * guidance.view({-1, 1, 1});
  } else {
    target = network.patchify(diffusion::velocity_target(x0, noise));
  }
  const at::Tensor loss = (network.forward_tokens(inputs).to(at::kFloat) - target).square().mean();
  loss.backward();
  const double error = loss.item<double>();
  return {error, distil ? 0 : error, distil ? error : 0};
}

}  // namespace magicid::objectives
