// What a step minimises, as the step loop sees it: a flat vector of parameters and a share of a gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace magicid::training {

class Objective {
 public:
  virtual ~Objective() = default;

  // The parameters [P], which the loop updates in place between steps, and the buffer [P] that accumulate() adds gradients to. Both of the
  // same floating dtype and device, and the same storage at every call.
  virtual at::Tensor parameters() = 0;
  virtual at::Tensor gradient() = 0;

  // Names of the figures that accumulate() returns; the first is the loss. The loop averages them over the global batch.
  virtual std::vector<std::string> metric_names() const = 0;

  // Adds this rank's part of d(loss of sample `slot` of `step`) / d(parameters) to gradient() and returns the sample's figures; the loop divides
  // the sums by `global_batch`. What a sample is depends on (seed, step, slot, global_batch), never on the ranks that compute it. On a mesh all
  // ranks of a replica are called for the same slots in the same order; their parts of the gradient sum up to the whole, and each returns the
  // figures of the whole sample. Called with grad mode on. Collective over the replica's ranks; not collective where a replica is one rank.
  virtual std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) = 0;
};

}  // namespace magicid::training
