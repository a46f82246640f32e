#include "models/nn/group_norm.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/max.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/sub.h>

#include <vector>

namespace magicid::models::nn {
namespace {

// Means of more than so many standard deviations cost the channels-last kernel digits: its variance is E[x^2] - E[x]^2 in fp32.
constexpr double kLargestPlainMean = 4;

}  // namespace

GroupNorm GroupNorm::load(const Weights& weights, const std::string& name, std::int64_t channels, std::int64_t groups, double eps) {
  return {weights.take(name + ".weight", {channels}), weights.take(name + ".bias", {channels}), groups, eps};
}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
  if (!x.is_cpu() || x.is_contiguous()) return at::group_norm(x, groups, weight, bias, eps);
  const std::int64_t batch = x.size(0), channels = x.size(1);
  auto [normalised, mean, inverse_deviation] =
      at::native_group_norm(x.contiguous(x.suggest_memory_format()), weight, bias, batch, channels, x.numel() / (batch * channels), groups, eps);
  if (mean.detach().mul(inverse_deviation.detach()).abs().max().item<double>() <= kLargestPlainMean) return normalised;
  // The result does not depend on a shift of a group, so the shift needs no gradient either.
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[0] = batch, shape[1] = channels;
  const at::Tensor shift = mean.detach().to(x.scalar_type()).view({batch, groups}).repeat_interleave(channels / groups, 1).view(shape);
  return at::group_norm(x.sub(shift), groups, weight, bias, eps);
}

}  // namespace magicid::models::nn
