// Ranks as processes over MPI: host tensors only. Needs MPI_THREAD_MULTIPLE, because the work queue's server answers beside the program.
#pragma once

#include "comm/communicator.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace magicid::comm {

// Starts MPI unless it runs. Throws SystemError when it cannot serve several threads, UserError when it sees another number of processes
// than the launcher told (an srun without a PMI that this MPI understands). Collective over all processes.
void start_mpi();
// Between start_mpi() and finalize_mpi(). Not collective.
bool mpi_running();
// Collective over all processes; destroy every communicator before.
void finalize_mpi();
// Never returns when MPI runs.
void abort_mpi(int exit_code);

// A communicator over all processes with traffic of its own. Collective over all processes; starts MPI.
std::unique_ptr<Communicator> make_mpi_world();

// Waits until every process calls this, at most `seconds` (no limit when negative); false when somebody is missing, after which the job can only be
// aborted. On success returns in `texts` what every rank handed in. Collective over all processes.
bool meet_before_exit(double seconds, const std::string& text, std::vector<std::string>& texts);

// Larger messages are cut into pieces of this many bytes (MPI counts are ints). Not for use but by tests; the same on all ranks. Returns the value before.
std::int64_t set_mpi_piece_bytes(std::int64_t bytes);

}  // namespace magicid::comm
