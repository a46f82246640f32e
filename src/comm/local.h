// One rank, no MPI. Any device.
#pragma once

#include "comm/communicator.h"

namespace magicid::comm {

// `world_rank` and `world_size`: where the rank stands in its job, for a group of one.
std::unique_ptr<Communicator> make_local_communicator(int world_rank = 0, int world_size = 1);

}  // namespace magicid::comm
