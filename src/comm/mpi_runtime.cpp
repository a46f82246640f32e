#include "base/errors.h"
#include "comm/launch.h"
#include "comm/mpi.h"
#include "comm/mpi_handle.h"
#include "comm/watchdog.h"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace magicid::comm {
namespace {

std::mutex& start_lock() {
  static std::mutex lock;
  return lock;
}

// Made at the start, while all ranks are well: the last meeting has traffic that nothing else can disturb.
MPI_Comm& farewell() {
  static MPI_Comm comm = MPI_COMM_NULL;
  return comm;
}

}  // namespace

int rank_of_job() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int size_of_job() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

void check_mpi(int code, const char* operation) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw base::PeerError(operation, " over mpi failed: ", std::string(text, static_cast<std::size_t>(length)));
}

MpiHandle::MpiHandle(MPI_Comm comm) : comm_(comm), exceptions_(std::uncaught_exceptions()) {
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_rank(comm_, &rank_), "rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "size");
}

MpiHandle::~MpiHandle() {
  // Freeing is collective: a rank that unwinds alone must not wait for the others there.
  if (mpi_running() && std::uncaught_exceptions() == exceptions_) MPI_Comm_free(&comm_);
}

bool mpi_running() {
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  if (started) MPI_Finalized(&ended);
  return started && !ended;
}

void start_mpi() {
  std::lock_guard lock(start_lock());
  if (mpi_running()) return;
  int ended = 0;
  MPI_Finalized(&ended);
  base::check_invariant(!ended, "MPI was ended and cannot be started again in this process");
  int level = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) throw base::SystemError("MPI cannot be started (MPI_Init_thread failed)");
  if (level < MPI_THREAD_MULTIPLE) {
    throw base::SystemError(
        "this MPI does not serve several threads of a process (MPI_THREAD_MULTIPLE), which the work queue needs: use an Open MPI built with thread support");
  }
  const auto launched = launched_processes();
  int size = 1;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "start");
  if (size != launched.count) {
    throw base::UserError(
        "the launcher started ", launched.count, " processes, but MPI sees ", size,
        ". With srun, name a process manager that this MPI was built with (srun --mpi=list shows them; e.g. srun --mpi=pmix), or start with mpirun");
  }
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &farewell()), "start");
}

void finalize_mpi() {
  std::lock_guard lock(start_lock());
  if (!mpi_running()) return;
  wait_for_queue_servers(std::chrono::seconds(2));
  if (farewell() != MPI_COMM_NULL) MPI_Comm_free(&farewell());
  MPI_Finalize();
}

void abort_mpi(int exit_code) {
  if (mpi_running()) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

bool meet_before_exit(double seconds, const std::string& text, std::vector<std::string>& texts) {
  texts = {text};
  if (!mpi_running() || farewell() == MPI_COMM_NULL) return true;
  int rank = 0, size = 1;
  MPI_Comm_rank(farewell(), &rank);
  MPI_Comm_size(farewell(), &size);
  const Watch watch({.name = "end of the program", .backend = "mpi", .rank = rank, .size = size});
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(farewell(), &request), "end of the program");
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "end of the program");
    if (done) break;
    if (seconds >= 0 && std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  texts = make_mpi_world()->all_gather_strings(text);
  return true;
}

}  // namespace magicid::comm
