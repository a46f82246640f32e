// Networks whose loader says what belongs to them.
#pragma once

#include <ATen/ops/zeros.h>

#include <functional>

#include "base/errors.h"
#include "models/nn/published_network.h"
#include "models/nn/weights.h"

namespace magicid::imports {

// Plans all tensors of `source` under their names, after `load`, the network's own loader, has been given tensors of these names and shapes without their
// values: what it misses, or finds too much or of another shape, stands in the plan as it says it.
inline void plan_whole_network(models::nn::ImportPlan& plan, const models::nn::WeightSource& source,
                               const std::function<void(const models::nn::Weights&)>& load) {
  plan.weights = "model";
  storage::NamedTensors shapes;
  for (const auto& [name, tensor] : source.tensors) {
    // One number, repeated: a shape without memory.
    shapes[name] = at::zeros({1}, at::TensorOptions().dtype(tensor.dtype)).as_strided(tensor.shape, std::vector<std::int64_t>(tensor.shape.size(), 0));
    plan.tensors.push_back({name, tensor.dtype, tensor.shape, tensor.read});
  }
  try {
    load(models::nn::Weights::from_tensors(std::move(shapes), source.path.string(), {}));
  } catch (const base::UserError& error) {
    plan.wrong.emplace_back(error.what());
  }
}

}  // namespace magicid::imports
