#include "models/generator/condition.h"

#include "base/errors.h"

namespace magicid::models::generator {

const at::Tensor& Condition::at(const std::string& name) const {
  const auto found = tensors.find(name);
  base::check_invariant(found != tensors.end() && found->second.defined(), "the condition has no tensor '", name,
                        "': it was made by another backbone's encoders");
  return found->second;
}

at::Tensor Condition::find(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? at::Tensor() : found->second;
}

Condition Condition::to(c10::Device device) const {
  Condition moved;
  for (const auto& [name, tensor] : tensors) moved.tensors[name] = tensor.to(device);
  return moved;
}

}  // namespace magicid::models::generator
