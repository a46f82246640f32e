#include "objectives/text_to_video.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"

namespace magicid::objectives {

storage::NamedTensors initialize_at_zero(storage::NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) {
    const bool modulation = name.find("norm") != std::string::npos && name.find(".linear.") != std::string::npos;
    if (modulation || name == "proj_out.weight") tensor.zero_();
  }
  return tensors;
}

TextToVideo::TextToVideo(TokenErrors errors, models::nn::Parameters& parameters, at::ScalarType dtype, TextToVideoBatches batches,
                         const TextToVideoOptions& options, std::uint64_t seed)
    : errors_(std::move(errors)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)), options_(options), seed_(seed) {}

std::vector<double> TextToVideo::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const TextToVideoBatch batch = batches_(step, slot, global_batch);
  const auto options = parameters_.values().options();
  const std::int64_t items = batch.latents.size(0);
  const at::Tensor x0 = batch.latents.to(options);
  const at::Tensor noise =
      diffusion::initial_noise(seed_, "text-to-video-noise", x0.sizes(), static_cast<std::uint64_t>(step * global_batch + slot)).to(options);
  std::vector<double> sigmas;
  for (std::int64_t i = 0; i < items; ++i)
    sigmas.push_back(diffusion::sample_sigma(seed_, static_cast<std::uint64_t>(step), slot * items + i, global_batch * items, options_.shift));
  const at::Tensor sigma = at::tensor(sigmas, at::kDouble).to(options);

  const at::Tensor errors =
      errors_(parameters_.weights(dtype_), batch, diffusion::add_noise(x0, noise, sigma), sigma * 1000, diffusion::velocity_target(x0, noise));
  const at::Tensor loss = batch.weights.defined() ? (errors * batch.weights.to(options)).sum() / batch.weights.sum().to(options) : errors.mean();
  loss.backward();
  return {loss.item<double>()};
}

}  // namespace magicid::objectives
