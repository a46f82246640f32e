// Ranks as processes with a GPU each: device tensors go over NCCL, host tensors over MPI (never both for one operation).
// In a build without CUDA the functions are there too: no devices, and make_nccl_world throws.
#pragma once

#include "comm/communicator.h"

#include <memory>

namespace magicid::comm {

// GPUs of this node that this process sees; 0 in a build without CUDA. Not collective.
int nccl_device_count();

// Chooses this process's GPU (its local rank), starts MPI and joins all processes over NCCL. Operations run on the current stream of LibTorch, so
// they are ordered with the kernels around them; they return before the device is done. Throws UserError in a build without CUDA or without enough
// GPUs, SystemError when NCCL fails. Collective over all processes.
std::unique_ptr<Communicator> make_nccl_world();

}  // namespace magicid::comm
