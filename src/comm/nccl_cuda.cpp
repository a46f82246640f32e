// The real NCCL functions, on LibTorch's current CUDA stream: ordered with the kernels around them, so no tensor needs to be kept alive
// for another stream.
#include "base/errors.h"
#include "comm/launch.h"
#include "comm/mpi.h"
#include "comm/nccl.h"
#include "comm/nccl_library.h"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>

namespace magicid::comm {
namespace {

NcclResult wrapped(ncclResult_t result) {
  if (result == ncclSuccess) return {};
  if (result == ncclInProgress) return {NcclResult::Status::in_progress, {}};
  return {NcclResult::Status::failed, base::concat(ncclGetErrorString(result), " (", ncclGetLastError(nullptr), ")")};
}

ncclComm_t handle(NcclLibrary::Comm comm) { return static_cast<ncclComm_t>(comm); }

ncclDataType_t type_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return ncclFloat32;
    case at::kDouble: return ncclFloat64;
    case at::kLong: return ncclInt64;
    case at::kInt: return ncclInt32;
    case at::kByte: return ncclUint8;
    default: throw base::InvariantError("all_reduce over nccl of ", c10::toString(dtype));
  }
}

ncclRedOp_t operation_of(Reduce operation) { return operation == Reduce::sum ? ncclSum : operation == Reduce::maximum ? ncclMax : ncclMin; }

ncclConfig_t non_blocking() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

class CudaNcclLibrary : public NcclLibrary {
 public:
  bool serves(const at::Device& device) const override { return device.is_cuda(); }

  std::string unique_id() override {
    ncclUniqueId id;
    const NcclResult result = wrapped(ncclGetUniqueId(&id));
    if (result.status == NcclResult::Status::failed) throw base::SystemError("NCCL gives no unique id: ", result.text);
    return {id.internal, sizeof id.internal};
  }

  NcclResult init(Comm* comm, int size, const std::string& unique_id, int rank) override {
    ncclUniqueId id;
    if (unique_id.size() != sizeof id.internal) return {NcclResult::Status::failed, "the unique id did not arrive whole"};
    std::memcpy(id.internal, unique_id.data(), sizeof id.internal);
    ncclConfig_t config = non_blocking();
    ncclComm_t made = nullptr;
    const NcclResult result = wrapped(ncclCommInitRankConfig(&made, size, id, rank, &config));
    *comm = made;
    return result;
  }

  NcclResult split(Comm comm, int color, int key, Comm* part) override {
    ncclConfig_t config = non_blocking();
    // A thread of NCCL's writes the handle when the split has ended, which may be never (a peer is late or lost): straight to the caller's place, and nothing
    // waits here.
    static_assert(sizeof(ncclComm_t) == sizeof(Comm));
    return wrapped(ncclCommSplit(handle(comm), color, key, reinterpret_cast<ncclComm_t*>(part), &config));
  }

  NcclResult async_error(Comm comm) override {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(handle(comm), &state);
    return wrapped(asked == ncclSuccess ? state : asked);
  }

  NcclResult finalize(Comm comm) override { return wrapped(ncclCommFinalize(handle(comm))); }
  NcclResult destroy(Comm comm) override { return wrapped(ncclCommDestroy(handle(comm))); }
  NcclResult abort(Comm comm) override { return wrapped(ncclCommAbort(handle(comm))); }
  NcclResult group_start() override { return wrapped(ncclGroupStart()); }
  NcclResult group_end() override { return wrapped(ncclGroupEnd()); }

  NcclResult all_reduce(void* in_place, std::size_t count, at::ScalarType dtype, Reduce operation, Comm comm) override {
    return wrapped(ncclAllReduce(in_place, in_place, count, type_of(dtype), operation_of(operation), handle(comm), stream()));
  }
  NcclResult all_gather(const void* send, void* receive, std::size_t bytes_of_a_rank, Comm comm) override {
    return wrapped(ncclAllGather(send, receive, bytes_of_a_rank, ncclUint8, handle(comm), stream()));
  }
  NcclResult broadcast(void* in_place, std::size_t bytes, int root, Comm comm) override {
    return wrapped(ncclBroadcast(in_place, in_place, bytes, ncclUint8, root, handle(comm), stream()));
  }
  NcclResult send(const void* data, std::size_t bytes, int peer, Comm comm) override {
    return wrapped(ncclSend(data, bytes, ncclUint8, peer, handle(comm), stream()));
  }
  NcclResult receive(void* data, std::size_t bytes, int peer, Comm comm) override {
    return wrapped(ncclRecv(data, bytes, ncclUint8, peer, handle(comm), stream()));
  }

  std::function<bool()> mark() override {
    cudaEvent_t event = nullptr;
    cudaError_t problem = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    if (problem == cudaSuccess) problem = cudaEventRecord(event, stream());
    if (problem != cudaSuccess) throw base::SystemError("the CUDA device fails: ", cudaGetErrorString(problem));
    const std::shared_ptr<CUevent_st> owned(event, [](cudaEvent_t old) { cudaEventDestroy(old); });
    return [owned] { return cudaEventQuery(owned.get()) != cudaErrorNotReady; };
  }
};

}  // namespace

int nccl_device_count() { return static_cast<int>(c10::cuda::device_count()); }

std::unique_ptr<Communicator> make_nccl_world() {
  const auto launched = launched_processes();
  auto host = make_mpi_world();
  agree(*host, "choose a GPU for each rank", [&] {
    const int devices = nccl_device_count();
    if (devices == 0)
      throw base::UserError("the nccl backend needs a GPU for each rank, and this rank sees none: choose the backend mpi, or ask the scheduler for GPUs");
    // Schedulers may show each process its own GPU alone; then its number is 0 whatever the local rank.
    if (devices > 1 && launched.local_rank >= devices) {
      throw base::UserError("local rank ", launched.local_rank, " has no GPU: this node shows ", devices, "; start at most ", devices, " ranks on each node");
    }
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(devices == 1 ? 0 : launched.local_rank));
  });
  return make_nccl_communicator(std::make_shared<CudaNcclLibrary>(), std::move(host));
}

}  // namespace magicid::comm
