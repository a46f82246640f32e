// Internal to the mpi backend: an owned MPI communicator and the check of MPI's return codes.
#pragma once

#include "comm/work_queue.h"

#include <mpi.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace magicid::comm {

// This process among all of the job, between start_mpi() and finalize_mpi().
int rank_of_job();
int size_of_job();

// Throws PeerError with MPI's own text.
void check_mpi(int code, const char* operation);

// Owns `comm`; errors return codes instead of ending the program without a word.
class MpiHandle {
 public:
  explicit MpiHandle(MPI_Comm comm);
  ~MpiHandle();
  MpiHandle(const MpiHandle&) = delete;
  MpiHandle& operator=(const MpiHandle&) = delete;

  MPI_Comm get() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
  int exceptions_;
};

// What the queues of one communicator share.
struct QueueTraffic {
  QueueTraffic(MPI_Comm comm, std::vector<std::string> node_of_rank) : handle(comm), nodes(std::move(node_of_rank)) {}
  MpiHandle handle;
  std::vector<std::string> nodes;  // of each rank, for messages
};
// `number` tells apart the queues that use one communicator; the same on all ranks.
std::unique_ptr<WorkQueue> make_mpi_queue(std::shared_ptr<QueueTraffic> traffic, int number, std::int64_t count);

// A queue's server on rank 0 that outlived its queue, because an error passed, ends when all ranks have left. Waits for those, at most this long. Before MPI
// ends. Not collective.
void wait_for_queue_servers(std::chrono::milliseconds patience);

}  // namespace magicid::comm
