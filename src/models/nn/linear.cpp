#include "models/nn/linear.h"

#include <ATen/ops/linear.h>

namespace magicid::models::nn {

Linear Linear::load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, bool with_bias) {
  Linear linear;
  linear.weight = weights.take(name + ".weight", {out, in});
  if (with_bias) linear.bias = weights.take(name + ".bias", {out});
  return linear;
}

at::Tensor Linear::operator()(const at::Tensor& x, const LoraLayer* adapter) const {
  at::Tensor y = at::linear(x, weight, bias);
  if (adapter == nullptr || !adapter->a.defined()) return y;
  const at::Tensor down = at::linear(x, adapter->a.to(x.scalar_type()));
  const at::Tensor up = at::linear(down, adapter->b.to(x.scalar_type()));
  // In place: y is ours, and autograd needs neither operand of a sum.
  return y.add_(up, adapter->scale);
}

}  // namespace magicid::models::nn
