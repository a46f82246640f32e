#include "objectives/reconstruction.h"

#include "base/errors.h"
#include "diffusion/flow_matching.h"
#include "diffusion/initial_noise.h"
#include "objectives/draws.h"
#include "objectives/velocity_error.h"

namespace magicid::objectives {

Reconstruction::Reconstruction(const models::hunyuan_video::Transformer& transformer, models::hunyuan_video::Adapter& adapter,
                               std::vector<ReconstructionItem> items, std::uint64_t seed, double shift, double guidance)
    : transformer_(transformer), adapter_(adapter), items_(std::move(items)), seed_(seed), shift_(shift), guidance_(guidance) {
  if (items_.empty()) throw base::UserError("reconstruct: there is no reference image to learn from");
  adapter_.set_requires_grad(true);
}

at::Tensor Reconstruction::parameters() { return adapter_.flat_parameters(); }
at::Tensor Reconstruction::gradient() { return adapter_.flat_gradients(); }
std::vector<std::string> Reconstruction::metric_names() const { return {"loss", "sigma"}; }

std::vector<double> Reconstruction::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const std::int64_t sample = step * global_batch + slot;
  const auto& item = items_[static_cast<std::size_t>(draw_item(seed_, "reconstruct-item", sample, static_cast<std::int64_t>(items_.size())))];
  const double sigma = diffusion::sample_sigma(seed_, static_cast<std::uint64_t>(step), slot, global_batch, shift_);
  const NoisySample noisy{item.latents, diffusion::initial_noise(seed_, "reconstruct-noise", item.latents.sizes(), static_cast<std::uint64_t>(sample)), sigma};
  const at::Tensor loss = velocity_error(transformer_, &adapter_, noisy, item.condition, guidance_);
  loss.backward();
  return {loss.item<double>(), sigma};
}

}  // namespace magicid::objectives
