#include "models/nn/linear.h"

#include <ATen/ops/linear.h>

#include "base/errors.h"

namespace magicid::models::nn {

Linear Linear::load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, bool with_bias) {
  Linear linear;
  linear.weight = weights.take(name + ".weight", {out, in});
  if (with_bias) linear.bias = weights.take(name + ".bias", {out});
  return linear;
}

at::Tensor Linear::operator()(const at::Tensor& x, const LoraLayer* adapter) const {
  // Two-dimensional products: with more dimensions LibTorch's matmul takes another way (and other bits) when a factor requires a gradient.
  const std::int64_t in = weight.size(1), out = weight.size(0);
  base::check_invariant(x.dim() > 0 && x.size(-1) == in, "Linear: the input's last dimension is ", x.dim() > 0 ? x.size(-1) : 0, "; expected ", in);
  auto sizes = x.sizes().vec();
  sizes.back() = out;
  const at::Tensor rows = x.reshape({x.numel() / in, in});
  at::Tensor y = at::linear(rows, weight, bias);
  if (adapter != nullptr && adapter->a.defined()) {
    const at::Tensor down = rows.mm(adapter->a.to(x.scalar_type()).t());
    // In place: y is ours, and autograd needs neither operand of a sum.
    y.addmm_(down, adapter->b.to(x.scalar_type()).t(), 1, adapter->scale);
  }
  return y.view(sizes);
}

}  // namespace magicid::models::nn
