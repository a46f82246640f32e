#include "models/nn/parameters.h"

#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include "base/errors.h"

namespace magicid::models::nn {

Parameters::Parameters(const storage::NamedTensors& initial, c10::Device device, std::string origin) : origin_(std::move(origin)) {
  const c10::AutoGradMode no_grad(false);
  std::int64_t size = 0;
  for (const auto& [name, tensor] : initial) {
    base::check_invariant(tensor.is_floating_point(), origin_, ": tensor ", name, " is not floating and cannot be trained");
    size += tensor.numel();
  }
  values_ = at::zeros({size}, at::TensorOptions(at::kFloat).device(device));
  gradient_ = at::zeros_like(values_);
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : initial) {
    at::Tensor leaf = values_.narrow(0, offset, tensor.numel()).view(tensor.sizes()).detach();
    leaf.copy_(tensor);
    leaf.set_requires_grad(true);
    leaf.mutable_grad() = gradient_.narrow(0, offset, tensor.numel()).view(tensor.sizes());
    leaves_[name] = leaf;
    offset += tensor.numel();
  }
}

Weights Parameters::weights(at::ScalarType dtype) const { return Weights::from_tensors(leaves_, origin_, {.device = values_.device(), .dtype = dtype}); }

storage::NamedTensors Parameters::named_tensors() const {
  storage::NamedTensors tensors;
  for (const auto& [name, leaf] : leaves_) tensors[name] = leaf.detach();
  return tensors;
}

const at::Tensor& Parameters::at(const std::string& name) const {
  const auto found = leaves_.find(name);
  base::check_invariant(found != leaves_.end(), origin_, ": there is no parameter ", name);
  return found->second;
}

void Parameters::assign(const storage::NamedTensors& tensors) {
  const c10::AutoGradMode no_grad(false);
  for (const auto& [name, tensor] : tensors) {
    const auto found = leaves_.find(name);
    if (found == leaves_.end()) throw base::UserError(origin_, ": there is no parameter ", name, " in this network");
    if (found->second.sizes() != tensor.sizes()) throw base::UserError(origin_, ": ", name, " has another shape than this network's");
    found->second.detach().copy_(tensor);
  }
}

}  // namespace magicid::models::nn
