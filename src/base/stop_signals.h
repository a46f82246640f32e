// Requests to stop: SIGTERM (preemption, time limit), SIGUSR1 (Slurm's --signal warning) and SIGINT (Ctrl-C) set a flag. Who holds something that must be saved
// or given back, a checkpoint, the lock of a run, looks at the flag where all ranks can agree.
#pragma once

#include <string>

namespace magicid::base {

// Installs the handlers for the lifetime of the object; the earlier handlers return afterwards. Objects may be nested: the outermost does both. A second signal
// of the same kind ends the process at once. The outermost of a program lives from before its ranks are joined until after they have parted
// (comm::run_as_rank).
class StopSignals {
 public:
  // `speaks`: the first request is answered on standard error, so that a person sees that it was heard.
  explicit StopSignals(bool speaks = false);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Number of the signal received last by this process, or 0. Not collective.
  static int received();
  // For tests and for a caller that handled the request.
  static void clear();
};

// While one lives on this thread, stop_if_asked() may throw here: the ranks agree on what is thrown (comm::agree_unless_stopped), and nothing is lost.
// Elsewhere, deep in code that does not know who calls it, a rank that left alone would leave the others waiting.
class StopPoints {
 public:
  StopPoints();
  ~StopPoints();
  StopPoints(const StopPoints&) = delete;
  StopPoints& operator=(const StopPoints&) = delete;
};

// A stop point of long work (a tensor loaded, a file hashed, a prompt encoded): throws RequeueRequest that names `what` when a stop was asked for and
// StopPoints live on this thread.
void stop_if_asked(const std::string& what);

}  // namespace magicid::base
