// Requests to stop: SIGTERM (preemption, time limit) and SIGUSR1 (Slurm's --signal warning) set a flag; the step loop and the work
// queue look at it where all ranks can agree.
#pragma once

namespace magicid::work {

// Installs the handlers for the lifetime of the object; the earlier handlers return afterwards. Objects may be nested: the outermost does both. A second signal of the same kind ends
// the process at once.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Signal number received so far by this process, or 0. Not collective.
  static int received();
  // For tests and for a caller that handled the request.
  static void clear();
};

}  // namespace magicid::work
