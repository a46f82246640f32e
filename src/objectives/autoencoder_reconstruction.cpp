#include "objectives/autoencoder_reconstruction.h"

#include <ATen/TensorOperators.h>

#include "diffusion/initial_noise.h"

namespace magicid::objectives {
namespace {

constexpr std::int64_t kHeight = 3, kWidth = 4;

at::Tensor differences(const at::Tensor& x, std::int64_t dimension) { return x.narrow(dimension, 1, x.size(dimension) - 1) - x.narrow(dimension, 0, x.size(dimension) - 1); }

}  // namespace

AutoencoderReconstruction::AutoencoderReconstruction(models::hunyuan_video::AutoencoderConfig config, models::nn::Parameters& parameters, at::ScalarType dtype,
                                                     AutoencoderBatches batches, const AutoencoderLoss& loss, std::uint64_t seed)
    : config_(std::move(config)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)), loss_(loss), seed_(seed) {}

std::vector<double> AutoencoderReconstruction::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto network = models::hunyuan_video::Autoencoder::from_weights(config_, parameters_.weights(dtype_));
  const auto device = parameters_.values().device();
  const at::Tensor sample = batch.sample.to(device);
  const auto posterior = network.encode(sample);
  const at::Tensor noise =
      diffusion::initial_noise(seed_, "autoencoder-latents", posterior.mean.sizes(), static_cast<std::uint64_t>(step * global_batch + slot)).to(device, posterior.mean.scalar_type());
  const at::Tensor decoded = network.decode(posterior.sample(noise)).to(at::kFloat);

  const at::Tensor weights = batch.weights.to(device).expand({sample.size(0), 1, sample.size(2), sample.size(3), sample.size(4)});
  const at::Tensor difference = decoded - sample;
  const at::Tensor error = (difference.abs() * weights).mean();
  // Edges carry a drawn face; an error that is smooth there is cheaper than one that is not.
  const at::Tensor edges = (differences(difference, kHeight).abs() * weights.narrow(kHeight, 1, sample.size(kHeight) - 1)).mean() +
                           (differences(difference, kWidth).abs() * weights.narrow(kWidth, 1, sample.size(kWidth) - 1)).mean();
  const at::Tensor mean = posterior.mean.to(at::kFloat), logvar = posterior.logvar.to(at::kFloat);
  const at::Tensor divergence = ((mean.square() + logvar.exp() - 1 - logvar) * 0.5).mean();
  const at::Tensor loss = error + edges * loss_.gradient_weight + divergence * loss_.kl_weight;
  loss.backward();
  return {loss.item<double>(), error.item<double>(), edges.item<double>(), divergence.item<double>()};
}

}  // namespace magicid::objectives
