// How much memory this rank's networks may count on.
#pragma once

#include <filesystem>

#include "models/nn/weights.h"

namespace magicid::session {

// Bytes of memory that the machine gives to this process's programs: all of it, or what its control group (a Slurm job, a container) is allowed.
double host_memory();

// The device's memory: the GPU's; for the CPU this rank's share of host_memory(), `ranks_of_node` sharing alike. 0 where it cannot be told.
double memory_of(const models::nn::Placement& placement, int ranks_of_node);

// Bytes that the floating tensors of a folder's *.safetensors take in `dtype`, from their headers alone. 0 for a folder without any.
double weights_in_memory(const std::filesystem::path& folder, at::ScalarType dtype);

}  // namespace magicid::session
