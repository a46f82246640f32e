#include "objectives/reconstruction.h"

#include <ATen/TensorOperators.h>

#include <limits>

#include "base/draws.h"
#include "base/errors.h"
#include "base/random.h"
#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"
#include "objectives/velocity_error.h"

namespace magicid::objectives {

Reconstruction::Reconstruction(const models::generator::Denoiser& denoiser, models::generator::Adapter& adapter, std::vector<ReconstructionItem> items,
                               const NoiseOptions& noise, ReconstructionPrior prior, Execution execution)
    : denoiser_(denoiser),
      adapter_(adapter),
      items_(std::move(items)),
      prior_seed_(base::CounterRandom(noise.seed, "reconstruct-prior").below(std::numeric_limits<std::uint64_t>::max(), 0, 0)),
      noise_(noise),
      prior_(std::move(prior)),
      execution_(std::move(execution)) {
  if (execution_.ranks == nullptr) execution_.ranks = &alone_;
  base::check_invariant(execution_.ranks->pair_size() == 1, "reconstruction has no pairs to spread over ranks");
  if (items_.empty()) throw base::UserError("reconstruct: there is no reference image to learn from");
  if (prior_.weight > 0 && prior_.items.empty()) throw base::UserError("reconstruct: prior preservation has a weight and no class sample to learn from");
  adapter_.set_requires_grad(true);
}

at::Tensor Reconstruction::parameters() { return adapter_.flat_parameters(); }
at::Tensor Reconstruction::gradient() { return adapter_.flat_gradients(); }
std::vector<std::string> Reconstruction::metric_names() const {
  if (prior_.weight > 0) return {"loss", "sigma", "photo_error", "prior_error"};
  return {"loss", "sigma"};
}

const ReconstructionItem& Reconstruction::item_of(std::int64_t sample) const {
  return items_[static_cast<std::size_t>(base::draw_item(noise_.seed, "reconstruct-item", sample, static_cast<std::int64_t>(items_.size())))];
}

const ReconstructionItem* Reconstruction::prior_of(std::int64_t sample) const {
  if (prior_.weight <= 0) return nullptr;
  return &prior_
              .items[static_cast<std::size_t>(base::draw_item(prior_seed_, "reconstruct-prior-item", sample, static_cast<std::int64_t>(prior_.items.size())))];
}

std::vector<double> Reconstruction::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const std::int64_t sample = step * global_batch + slot;
  const auto& item = item_of(sample);
  const double sigma = diffusion::sample_sigma(noise_.seed, static_cast<std::uint64_t>(step), slot, global_batch, noise_.shift);
  const NoisySample noisy{item.latents, diffusion::initial_noise(noise_.seed, "reconstruct-noise", item.latents.sizes(), static_cast<std::uint64_t>(sample)),
                          sigma};
  const auto error_of = [&](const NoisySample& of, const models::generator::Condition& condition, double weight) {
    const at::Tensor part = velocity_error(denoiser_, &adapter_, of, condition, noise_.guidance, execution_);
    (weight == 1 ? part : part * weight).backward();
    double error[1] = {part.item<double>()};
    execution_.ranks->sum(error);
    return error[0];
  };
  const double photo_error = error_of(noisy, item.condition, 1);
  const ReconstructionItem* const class_sample = prior_of(sample);
  if (class_sample == nullptr) return {photo_error, sigma};

  const ReconstructionItem& prior = *class_sample;
  const NoisySample noisy_prior{prior.latents,
                                diffusion::initial_noise(prior_seed_, "reconstruct-prior-noise", prior.latents.sizes(), static_cast<std::uint64_t>(sample)),
                                diffusion::sample_sigma(prior_seed_, static_cast<std::uint64_t>(step), slot, global_batch, prior_.shift)};
  const double prior_error = error_of(noisy_prior, prior.condition, prior_.weight);
  return {photo_error + prior_.weight * prior_error, sigma, photo_error, prior_error};
}

}  // namespace magicid::objectives
