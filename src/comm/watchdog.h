// Ends the job when a collective outlives its timeout: a rank that was lost or hangs would keep the others waiting for ever, and paid for.
//
// One thread for each process looks at the operations in flight. A message names rank, node and operation; then the job ends with exit
// code 4 (base::ExitCode::peer).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace magicid::comm {

// How long a collective may last. 30 minutes, or the seconds in MAGICID_COLLECTIVE_TIMEOUT (UserError when that is no positive number),
// until set_collective_timeout() is called. It must exceed the longest time between two ranks' arrivals, or, where they wait in a work queue
// (WorkQueue::wait_for_all), between two signs of life of a rank (one denoising step, one video scored).
std::chrono::milliseconds collective_timeout();
void set_collective_timeout(std::chrono::milliseconds timeout);

// Who waits and for what.
struct Operation {
  const char* name = "";     // "all_reduce", a literal
  const char* backend = "";  // "mpi", a literal
  int rank = 0;              // in its group
  int size = 1;              // of the group
  std::int64_t bytes = -1;   // -1: does not apply
};

// "rank 5 of 8 (rank 1 of a group of 4, node gpu-07): all_reduce of 1024 bytes over mpi": the rank in the job first, as the launcher tells it; for the group of
// all, that alone.
std::string describe_operation(const Operation& operation);

// What happens to an operation that is found dead. The default logs the message and calls abort_job(ExitCode::peer).
using ExpiryHandler = std::function<void(const std::string& message)>;
// Returns the handler that was there before. For tests.
ExpiryHandler set_expiry_handler(ExpiryHandler handler);
// Hands `message` to the handler.
void report_expiry(const std::string& message);

// The operation in flight while this object lives: for calls that block.
class Watch {
 public:
  explicit Watch(const Operation& operation);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  std::uint64_t id_;
};

// For work that goes on after the call returned (device streams). The watchdog asks `poll` until it says finished or failed; when it failed,
// or the timeout passed, `on_failure(reason)` runs on a thread of its own, before the report, so that it can release who is blocked. The report waits for it a
// minute at most (or the operation's limit where that is shorter) and says when it did not end: a release that hangs (ncclCommAbort beside a broken fabric)
// must not keep a dead job alive. It must not call forget().
enum class PollState { running, finished, failed };
struct PollResult {
  PollState state = PollState::running;
  std::string reason;  // when failed
};
struct Polled {
  Operation operation;
  std::function<PollResult()> poll;
  std::function<void(const std::string& reason)> on_failure;
};
// Returns the id for forget(); after forget() returned, neither function runs any more.
std::uint64_t watch_polled(Polled polled);
void forget(std::uint64_t id);

}  // namespace magicid::comm
