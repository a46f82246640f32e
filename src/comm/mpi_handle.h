// Internal to the mpi backend: an owned MPI communicator and the check of MPI's return codes.
#pragma once

#include "comm/work_queue.h"

#include <mpi.h>

#include <atomic>
#include <memory>
#include <string>

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

// `number` tells apart the queues that use one communicator; the same on all ranks.
std::unique_ptr<WorkQueue> make_mpi_queue(std::shared_ptr<MpiHandle> traffic, int number, std::int64_t count);

}  // namespace magicid::comm
