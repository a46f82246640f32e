#include "comm/nccl.h"

#include "base/errors.h"

namespace magicid::comm {

int nccl_device_count() { return 0; }

std::unique_ptr<Communicator> make_nccl_world() {
  throw base::UserError("this program was built without CUDA, so it has no NCCL backend: choose the backend mpi or automatic, or build the preset `cuda`");
}

}  // namespace magicid::comm
