// Group normalisation with affine weights (Wu and He 2018, arXiv 1803.08494).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "models/nn/weights.h"

namespace magicid::models::nn {

struct GroupNorm {
  at::Tensor weight, bias;  // [C]
  std::int64_t groups = 32;
  double eps = 1e-6;

  // Takes `name`.weight and `name`.bias [channels].
  static GroupNorm load(const Weights& weights, const std::string& name, std::int64_t channels, std::int64_t groups, double eps = 1e-6);

  // x [B,C,...] -> the same shape and layout; statistics over a group's channels and all further dimensions, in fp32 at least, and accurate
  // in channels-last layouts too when means are large against deviations.
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace magicid::models::nn
