// One rank, no MPI. Any device.
#pragma once

#include "comm/communicator.h"

namespace magicid::comm {

std::unique_ptr<Communicator> make_local_communicator();

}  // namespace magicid::comm
