#include "models/generator/condition.h"

#include "base/errors.h"

namespace magicid::models::generator {

const at::Tensor& Condition::at(const std::string& name) const {
  for (const auto& [own, tensor] : tensors)
    if (own == name && tensor.defined()) return tensor;
  throw base::InvariantError("the condition has no tensor '", name, "': it was made by another backbone's encoders");
}

at::Tensor Condition::find(const std::string& name) const {
  for (const auto& [own, tensor] : tensors)
    if (own == name) return tensor;
  return {};
}

Condition Condition::to(c10::Device device) const {
  Condition moved;
  for (const auto& [name, tensor] : tensors) moved.tensors.emplace_back(name, tensor.to(device));
  return moved;
}

}  // namespace magicid::models::generator
