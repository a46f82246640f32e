#include "comm/launch.h"

#include "base/log.h"
#include "base/stop_signals.h"
#include "comm/local.h"
#include "comm/mpi.h"
#include "comm/nccl.h"
#include "comm/rank_errors.h"
#include "comm/watchdog.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <vector>

namespace magicid::comm {
namespace {

std::optional<int> number_in_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 0 || value > 1'000'000) return std::nullopt;
  return static_cast<int>(value);
}

struct LauncherVariables {
  const char* rank;
  const char* count;
  const char* local_rank;
};

// SLURM_STEP_NUM_TASKS exists only under srun; SLURM_NTASKS would also be set in a batch script that runs one process by itself.
constexpr LauncherVariables launchers[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"},
};

void say(const Failure& failure) {
  if (failure.code == base::ExitCode::requeue) {
    base::log::warning(failure.text);
  } else {
    base::log::error(failure.text);
  }
}

// An exception that nothing can catch: thrown on a thread of a library, out of a destructor, or by the handling of another when memory ran out. The job ends
// with the kind's exit code, where std::terminate alone would leave SIGABRT's 134 and a message without a rank.
[[noreturn]] void end_uncaught() {
  static std::atomic_flag once;
  auto code = base::ExitCode::bug;
  if (!once.test_and_set()) {
    try {
      const auto error = std::current_exception();
      const Failure failure = error ? describe_failure(error) : Failure{base::ExitCode::bug, "std::terminate was called"};
      code = failure.code;
      base::log::error(base::concat("ended where nothing could catch it: ", failure.text));
    } catch (...) {  // not even a message found memory
      code = base::ExitCode::system;
      static constexpr char text[] = "error the host's memory ran out\n";
      if (::write(STDERR_FILENO, text, sizeof text - 1) < 0) std::_Exit(static_cast<int>(code));
    }
  }
  abort_job(code);
}

// Ends the job in order when all ranks end, else aborts it; returns the exit code.
int end_as_rank(const std::exception_ptr& error, int code, double grace_seconds) {
  const auto launched = launched_processes();
  const int world_size = launched.count;
  const std::optional<Failure> failure = error ? std::optional(describe_failure(error)) : std::nullopt;
  // Rank 0 need not wait to see what others say: nobody speaks before it.
  const bool spoken = failure && launched.rank == 0;
  if (spoken) say(*failure);
  std::vector<std::string> texts;
  bool together = false;
  try {
    // All ranks of the world agreed on this error, so they will come, if late: one may be writing its last file. A rank that fails by itself gives the others
    // little time.
    const bool nobody_missing = !error || agreed_ranks(error) == world_size;
    together = meet_before_exit(nobody_missing ? -1.0 : grace_seconds, failure ? failure->text : std::string(), texts);
  } catch (const std::exception& problem) {
    base::log::error(problem.what());
  }
  if (failure && !spoken && (!together || std::find(texts.begin(), texts.begin() + launched.rank, failure->text) == texts.begin() + launched.rank))
    say(*failure);
  if (!together) {
    base::log::error(base::concat("rank ", launched.rank, " of ", world_size, " (node ", node_name(), ") failed alone: ending the job"));
    abort_job(static_cast<base::ExitCode>(code));
  }
  finalize_mpi();
  return code;
}

}  // namespace

std::string backend_name(Backend backend) {
  switch (backend) {
    case Backend::local: return "local";
    case Backend::mpi: return "mpi";
    case Backend::nccl: return "nccl";
    default: return "automatic";
  }
}

Backend backend_from_name(const std::string& name) {
  for (const Backend backend : {Backend::automatic, Backend::local, Backend::mpi, Backend::nccl}) {
    if (backend_name(backend) == name) return backend;
  }
  throw base::UserError("unknown communication backend \"", name, "\": expected automatic, local, mpi or nccl");
}

LaunchedProcesses launched_processes() {
  for (const auto& variables : launchers) {
    const auto rank = number_in_environment(variables.rank);
    const auto count = number_in_environment(variables.count);
    if (rank && count && *rank < *count) return {.rank = *rank, .count = *count, .local_rank = number_in_environment(variables.local_rank).value_or(*rank)};
  }
  return {};
}

std::unique_ptr<Communicator> make_world(Backend backend) {
  const auto launched = launched_processes();
  if (backend == Backend::automatic) backend = launched.count == 1 ? Backend::local : nccl_device_count() > 0 ? Backend::nccl : Backend::mpi;
  switch (backend) {
    case Backend::local:
      if (launched.count > 1)
        throw base::UserError("the backend \"local\" serves one process, and the launcher started ", launched.count, ": choose automatic, mpi or nccl");
      return make_local_communicator();
    case Backend::nccl: return make_nccl_world();
    default: return make_mpi_world();
  }
}

void abort_job(base::ExitCode code) {
  std::fflush(stdout);
  std::fflush(stderr);
  abort_mpi(static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

int run_as_rank(int argc, char** argv, const std::function<int(int argc, char** argv)>& main_function, double grace_seconds) {
  std::set_terminate(end_uncaught);
  // From before the ranks are joined until after they have parted: a request to stop in between ends the program in order, and what it holds, a run's lock
  // above all, is given back.
  const base::StopSignals signals(launched_processes().rank == 0);
  std::exception_ptr error;
  int code = 0;
  try {
    collective_timeout();  // a wrong MAGICID_COLLECTIVE_TIMEOUT is found before any work
    if (launched_processes().count > 1) start_mpi();
    code = main_function(argc, argv);
  } catch (...) {
    error = std::current_exception();
    code = static_cast<int>(describe_failure(error).code);
  }
  return end_as_rank(error, code, grace_seconds);
}

}  // namespace magicid::comm
