// One small interface to a group of ranks. Backends: `mpi` (host tensors), `nccl` (device tensors, bootstrapped over MPI), `local` (one
// rank, no MPI) and `threads` (ranks as threads of one process, for tests). One test suite runs over all of them.
//
// Every method is collective over the group unless it says otherwise: all ranks call it in the same order with matching arguments.
// Reductions over a layout that does not change are bit-identical from run to run (fixed order of ranks).
//
// Errors: InvariantError when the arguments of this rank, or of the ranks together where that is seen, do not fit; PeerError when
// another rank is lost; a collective that outlives comm::collective_timeout() ends the job (comm/watchdog.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace magicid::comm {

class WorkQueue;

enum class Reduce { sum, maximum, minimum };

class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  virtual int rank() const = 0;  // not collective
  virtual int size() const = 0;  // not collective
  // This rank among all of the job, and how many they are: what a user knows a rank by, in messages, logs and `squeue`. Not collective.
  virtual int world_rank() const { return rank(); }
  virtual int world_size() const { return size(); }
  virtual std::string backend() const = 0;  // not collective

  // In place; contiguous tensor of the same shape and dtype (float32, float64, bfloat16, float16, int64, int32, uint8) on every rank. bf16 and fp16 are summed
  // in fp32.
  virtual void all_reduce(at::Tensor& tensor, Reduce operation = Reduce::sum) = 0;
  // Concatenation over ranks along dimension 0; counts along it may differ, zero included; other dimensions and dtype agree.
  virtual at::Tensor all_gather(const at::Tensor& local) = 0;
  // `send` is cut along dimension 0 into send_counts[r] rows for each rank r; returns the rows received, ordered by rank, with
  // receive_counts[r] rows from rank r. Its adjoint is the call with the counts exchanged.
  virtual at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) = 0;
  // In place, from `root`; contiguous tensor of the same shape and dtype on every rank.
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  // Host ranks wait for each other; on `nccl` this does not wait for work queued on a device.
  virtual void barrier() = 0;
  // The group of those with the same `color` (0 or more), ordered by `key` then rank. Returned group has its own traffic.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  // Strings of any length (names, errors, serialised scores) from every rank, in rank order.
  virtual std::vector<std::string> all_gather_strings(const std::string& local);
  virtual std::string broadcast_string(const std::string& text, int root);

  // A queue of the tickets 0..count-1 from which the ranks of this group draw (comm/work_queue.h). `count` agrees on all ranks.
  virtual std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) = 0;
};

// Runs `work` on this rank and makes all ranks agree on the outcome. If it threw on any rank, every rank throws one message that says `what`
// failed, on how many ranks of the group, and for each: its rank in the world, node and original text. Where all who failed were asked to stop with one text,
// the message is that text. A failing rank throws the kind of its own error; the others throw the kind of the lowest failing rank's, so that the job ends with
// the exit code of the cause (a RequeueRequest stays one). In a group of one the error passes unchanged. Collective over `group`; `work` itself must not
// communicate over `group` in a way that leaves others waiting when it throws.
void agree(Communicator& group, const std::string& what, const std::function<void()>& work);

// The same for work that is best not begun, or left at one of its stop points (base::stop_if_asked), when the job was asked to stop: every rank then throws
// base::RequeueRequest. For loading, hashing and encoding, which leave nothing half done. Collective over `group`.
void agree_unless_stopped(Communicator& group, const std::string& what, const std::function<void()>& work);

// "rank 5 of 8" for a rank of the world; "rank 5 of 8 (rank 1 of a group of 4)" for one of a group. Not collective.
std::string name_of(const Communicator& group);

}  // namespace magicid::comm
