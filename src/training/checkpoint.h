// What training goes on from.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/mesh.h"

namespace magicid::training {

// Parameters and AdamW's moments, each [P] on the CPU, after `step` updates. Random draws are functions of the step and the sample, so that the sampler's
// position is a number.
struct Checkpoint {
  std::int64_t step = 0;
  at::Tensor parameters, first_moment, second_moment;
  std::int64_t next_sample = 0;           // the sampler's position: samples of the global batches of `step` steps
  std::optional<comm::MeshShape> layout;  // of the ranks that made it; absent where a file does not say
  bool keep = false;                      // to be kept for ever (Options::keep_checkpoints_every)
};

// {"next_sample", "layout": {"replica", "pair", "sequence"}}: the part of a checkpoint that is neither tensor nor file name.
nlohmann::json position_of(const Checkpoint& checkpoint);
// The inverse; what `state` lacks stays as it is.
void read_position(const nlohmann::json& state, Checkpoint& checkpoint);

}  // namespace magicid::training
