#include "models/nn/group_norm.h"

#include <ATen/ops/group_norm.h>

namespace magicid::models::nn {

GroupNorm GroupNorm::load(const Weights& weights, const std::string& name, std::int64_t channels, std::int64_t groups, double eps) {
  return {weights.take(name + ".weight", {channels}), weights.take(name + ".bias", {channels}), groups, eps};
}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const { return at::group_norm(x, groups, weight, bias, eps); }

}  // namespace magicid::models::nn
