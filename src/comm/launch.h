// How this process was started, and the frame around a program of many ranks.
#pragma once

#include "base/errors.h"
#include "comm/communicator.h"

#include <functional>
#include <memory>
#include <string>

namespace magicid::comm {

// automatic: local for one process, else nccl in a CUDA build on a node with a GPU, else mpi.
enum class Backend { automatic, local, mpi, nccl };
std::string backend_name(Backend backend);
// Throws UserError naming the valid names.
Backend backend_from_name(const std::string& name);

// What mpirun or srun says about this process, read from the environment: no MPI call. Not collective.
struct LaunchedProcesses {
  int rank = 0;
  int count = 1;
  int local_rank = 0;  // on its node: which GPU
};
LaunchedProcesses launched_processes();

// The group of all processes. automatic on one process is `local`, without any MPI call. Starts MPI where needed (MPI_THREAD_MULTIPLE),
// which run_as_rank ends. Throws UserError when `nccl` is asked of a build without CUDA, or when the launcher and MPI disagree on the
// number of processes; SystemError when MPI cannot be started. Collective over all processes.
std::unique_ptr<Communicator> make_world(Backend backend = Backend::automatic);

// Ends all processes of the job at once with this exit code (MPI_Abort when MPI runs); any thread may call it.
[[noreturn]] void abort_job(base::ExitCode code);

// Runs `main_function` as one rank of the job and returns the process's exit code. Starts MPI only when there are several processes; ends it.
// An exception is logged with the rank, and mapped to base::ExitCode (describe_failure). When all ranks fail together (agree(), the same bad file), the
// job ends in order and one rank speaks for those with the same message. When this rank fails alone, i.e. the others do not end within
// `grace_seconds`, it ends the job with its own exit code, so that nobody waits for it. Requests to stop (base/stop_signals.h) are heard from its first line to
// its last. An exception that nothing can catch (another thread's) ends the job with the exit code of its kind.
int run_as_rank(int argc, char** argv, const std::function<int(int argc, char** argv)>& main_function, double grace_seconds = 3.0);

}  // namespace magicid::comm
