// Ranks as threads of one process: for tests of everything that communicates, without MPI. Host tensors.
#pragma once

#include "comm/communicator.h"

#include <functional>

namespace magicid::comm {

// Runs `work` on `size` threads, each with its own rank of one group, and waits for all of them. When a rank throws, the world is poisoned: every rank that
// waits or will wait in any group split from it throws PeerError, so nothing hangs. Then the error of the lowest rank that failed by itself is thrown.
void run_threads(int size, const std::function<void(Communicator&)>& work);

}  // namespace magicid::comm
