// y = x W^T + b, with an optional low-rank adapter chosen at each call.
//
// Networks hold plain tensors and are functions of them: nothing is registered, nothing is switched on inside a network, so ranks that are
// threads, a policy and its frozen reference can share one set of weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "models/nn/weights.h"

namespace magicid::models::nn {

// One adapted module: y += scale * (x A^T) B^T.  A [r, in], B [out, r]; both undefined when the module is not adapted.
struct LoraLayer {
  at::Tensor a, b;
  double scale = 1.0;
};

struct Linear {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out] or undefined

  // Takes `name`.weight [out, in] and, if `with_bias`, `name`.bias [out].
  static Linear load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, bool with_bias = true);

  // x [..., in] -> [..., out]. `adapter` may be null. The adapter's product is computed in x's dtype.
  at::Tensor operator()(const at::Tensor& x, const LoraLayer* adapter = nullptr) const;
};

}  // namespace magicid::models::nn
