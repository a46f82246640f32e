// The table of NCCL functions that the nccl backend calls. The real one (nccl_cuda.cpp) hands them to NCCL on LibTorch's current CUDA stream; a double over
// host memory lets the backend itself run, and fail, where there is no GPU.
#pragma once

#include "comm/communicator.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace magicid::comm {

struct NcclResult {
  enum class Status { success, in_progress, failed } status = Status::success;
  std::string text;  // when failed
};

// As in NCCL's manual; communicators are non-blocking: a call may return in_progress, and async_error() tells when it is done.
class NcclLibrary {
 public:
  using Comm = void*;
  virtual ~NcclLibrary() = default;

  virtual bool serves(const at::Device& device) const = 0;  // whether tensors there go over NCCL
  virtual std::string unique_id() = 0;
  virtual NcclResult init(Comm* comm, int size, const std::string& unique_id, int rank) = 0;
  // `part` is written, from any thread, before async_error(comm) says that the split is done: the place must live until then, or until comm was aborted.
  // Whatever is returned, it waits for no peer.
  virtual NcclResult split(Comm comm, int color, int key, Comm* part) = 0;
  virtual NcclResult async_error(Comm comm) = 0;
  virtual NcclResult finalize(Comm comm) = 0;  // in progress until all ranks are done with the communicator
  virtual NcclResult destroy(Comm comm) = 0;
  virtual NcclResult abort(Comm comm) = 0;  // any thread, while another is inside a call

  virtual NcclResult group_start() = 0;
  virtual NcclResult group_end() = 0;
  virtual NcclResult all_reduce(void* in_place, std::size_t count, at::ScalarType dtype, Reduce operation, Comm comm) = 0;
  virtual NcclResult all_gather(const void* send, void* receive, std::size_t bytes_of_a_rank, Comm comm) = 0;
  virtual NcclResult broadcast(void* in_place, std::size_t bytes, int root, Comm comm) = 0;
  virtual NcclResult send(const void* data, std::size_t bytes, int peer, Comm comm) = 0;
  virtual NcclResult receive(void* data, std::size_t bytes, int peer, Comm comm) = 0;

  // Marks this point of the stream that the calls above use; the function returned says whether the device has passed it. Any thread.
  virtual std::function<bool()> mark() = 0;
};

// Joins the ranks of `host` (rank 0's unique id travels over it). The result uses NCCL for tensors that `library` serves and `host` for all else. A
// collective on a device, a split or the joining itself that fails or outlives collective_timeout() is aborted (ncclCommAbort) and reported to the
// watchdog's handler, which ends the job; where it does not, that call and every later one throw PeerError, which names the operation. Destroyed while
// an exception unwinds, it is aborted, so that a rank that fails alone waits for nobody; else it is closed, which is collective over `host` (cut off
// after collective_timeout()). Throws PeerError when the ranks cannot be joined. Collective over `host`.
std::unique_ptr<Communicator> make_nccl_communicator(std::shared_ptr<NcclLibrary> library, std::unique_ptr<Communicator> host);

}  // namespace magicid::comm
