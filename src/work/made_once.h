// What one rank makes and all need: the same numbers everywhere, and its networks in one rank's memory alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "work/pulse.h"

namespace magicid::work {

// Tensors by name, on the CPU; any shape and dtype.
using NamedTensors = std::map<std::string, at::Tensor>;

// Rank 0 calls `make`, and every rank gets what it returned, to the bit. The others wait for as long as it gives signs of life. An error of it is thrown on all
// ranks, as comm::agree() does. Collective over `world`; `make` must not communicate.
NamedTensors made_once(comm::Communicator& world, const std::string& what, const std::function<NamedTensors(Pulse&)>& make);

}  // namespace magicid::work
