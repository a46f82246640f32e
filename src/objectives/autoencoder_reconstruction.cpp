#include "objectives/autoencoder_reconstruction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <cmath>

#include "base/random.h"
#include "diffusion/initial_noise.h"

namespace magicid::objectives {
namespace {

constexpr std::int64_t kHeight = 3, kWidth = 4;

at::Tensor differences(const at::Tensor& x, std::int64_t dimension) {
  return x.narrow(dimension, 1, x.size(dimension) - 1) - x.narrow(dimension, 0, x.size(dimension) - 1);
}

// One frame meets a kernel's temporal taps only in their sum, so it would pull all of them alike and teach the network to blend frames.
// Single frames therefore train the last tap, the frame's own; the earlier ones learn from clips.
storage::NamedTensors for_single_frames(const storage::NamedTensors& leaves) {
  storage::NamedTensors tensors;
  for (const auto& [name, leaf] : leaves) {
    const std::int64_t taps = leaf.dim() == 5 ? leaf.size(2) : 1;
    tensors[name] = taps == 1 ? leaf : at::cat({leaf.detach().narrow(2, 0, taps - 1), leaf.narrow(2, taps - 1, 1)}, 2);
  }
  return tensors;
}

}  // namespace

storage::NamedTensors initialize_framewise(storage::NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) {
    if (tensor.dim() != 5 || tensor.size(2) == 1) continue;
    const std::int64_t taps = tensor.size(2);
    tensor.narrow(2, taps - 1, 1).mul_(std::sqrt(static_cast<double>(taps)));
    tensor.narrow(2, 0, taps - 1).zero_();
  }
  return tensors;
}

AutoencoderReconstruction::AutoencoderReconstruction(AutoencoderOfWeights network, models::nn::Parameters& parameters, at::ScalarType dtype,
                                                     AutoencoderBatches batches, const AutoencoderLoss& loss, std::uint64_t seed)
    : network_(std::move(network)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)), loss_(loss), seed_(seed) {}

// Noise of a strength of its own for each sample, like `latents` [B,C,T,H,W].
at::Tensor AutoencoderReconstruction::corruption(const at::Tensor& latents, std::int64_t number) const {
  const base::CounterRandom strengths(seed_, "autoencoder-corruption-strength");
  at::Tensor noise = diffusion::initial_noise(seed_, "autoencoder-corruption", latents.sizes(), static_cast<std::uint64_t>(number));
  for (std::int64_t i = 0; i < noise.size(0); ++i)
    noise[i].mul_(loss_.latent_noise * strengths.uniform(static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(i)));
  return noise.to(latents.device(), latents.scalar_type());
}

std::vector<double> AutoencoderReconstruction::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto device = parameters_.values().device();
  const bool clip = batch.sample.size(2) > 1;
  const auto network =
      network_(clip ? parameters_.weights(dtype_)
                    : models::nn::Weights::from_tensors(for_single_frames(parameters_.leaves()), "autoencoder", {.device = device, .dtype = dtype_}));
  const at::Tensor sample = batch.sample.to(device);
  const auto [latent_mean, latent_logvar] = network.encode(sample);
  const at::Tensor noise = diffusion::initial_noise(seed_, "autoencoder-latents", latent_mean.sizes(), static_cast<std::uint64_t>(step * global_batch + slot))
                               .to(device, latent_mean.scalar_type());
  at::Tensor latents = latent_logvar.mul(0.5).exp().mul(noise).add(latent_mean);
  if (loss_.latent_noise > 0) latents = latents + corruption(latents, step * global_batch + slot);
  const at::Tensor decoded = network.decode(latents).to(at::kFloat);

  const at::Tensor weights = batch.weights.to(device).expand({sample.size(0), 1, sample.size(2), sample.size(3), sample.size(4)});
  const at::Tensor difference = decoded - sample;
  const at::Tensor error = (difference.abs() * weights).mean();
  // Edges carry a drawn face; an error that is smooth there is cheaper than one that is not.
  const at::Tensor edges = (differences(difference, kHeight).abs() * weights.narrow(kHeight, 1, sample.size(kHeight) - 1)).mean() +
                           (differences(difference, kWidth).abs() * weights.narrow(kWidth, 1, sample.size(kWidth) - 1)).mean();
  const at::Tensor mean = latent_mean.to(at::kFloat), logvar = latent_logvar.to(at::kFloat);
  const at::Tensor divergence = ((mean.square() + logvar.exp() - 1 - logvar) * 0.5).mean();
  const at::Tensor loss = error + edges * loss_.gradient_weight + divergence * loss_.kl_weight;
  loss.backward();
  return {loss.item<double>(), error.item<double>(), edges.item<double>(), divergence.item<double>()};
}

}  // namespace magicid::objectives
