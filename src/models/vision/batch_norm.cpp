#include "models/vision/batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/zeros.h>

#include <vector>

#include "base/errors.h"

namespace magicid::models::vision {

void BatchStatistics::add(const std::string& name, const at::Tensor& x) {
  const at::NoGradGuard no_gradient;
  std::vector<std::int64_t> all_but_channels{0};
  for (std::int64_t d = 2; d < x.dim(); ++d) all_but_channels.push_back(d);
  const at::Tensor values = x.to(at::kDouble);
  Sums& sums = sums_[name];
  if (sums.count == 0) sums.sum = sums.squares = at::zeros({x.size(1)}, values.options());
  sums.sum = sums.sum + values.sum(all_but_channels);
  sums.squares = sums.squares + values.square().sum(all_but_channels);
  sums.count += x.numel() / x.size(1);
}

storage::NamedTensors BatchStatistics::population() const {
  storage::NamedTensors tensors;
  for (const auto& [name, sums] : sums_) {
    const auto count = static_cast<double>(sums.count);
    const at::Tensor mean = sums.sum / count;
    const at::Tensor variance = (sums.squares / count - mean.square()).clamp_min(0);
    tensors[name + ".running_mean"] = mean.to(at::kFloat);
    tensors[name + ".running_var"] = variance.to(at::kFloat);
  }
  return tensors;
}

at::Tensor BatchNorm::operator()(const at::Tensor& x) const {
  if (statistics) statistics->add(name, x);
  return at::batch_norm(x, weight, bias, {}, {}, /*training=*/true, /*momentum=*/0, /*eps=*/1e-5, /*cudnn_enabled=*/true);
}

BatchNorm load_training_norm(const nn::Weights& weights, const std::string& name, std::int64_t channels, const NormMode& mode) {
  base::check_invariant(mode.training, name, ": a norm that keeps its own statistics belongs to training");
  for (const char* kept : {".running_mean", ".running_var", ".num_batches_tracked"}) weights.ignore(name + kept);
  return {weights.take_as(name + ".weight", {channels}, at::kFloat), weights.take_as(name + ".bias", {channels}, at::kFloat), name, mode.statistics};
}

}  // namespace magicid::models::vision
