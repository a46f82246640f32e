// One job at a time in a run directory, also over nodes that share a file system.
#pragma once

#include <filesystem>
#include <memory>

namespace magicid::run_directory {

// The file "run.lock" names host, process and job of the holder, whose background thread touches it every 20 seconds. A lock is stale
// when its process is gone from this host, when this job is a later start of the same Slurm job, or, from another host, when it was
// not touched for three minutes by the file server's clock; a stale lock is taken over with a warning.
class RunLock {
 public:
  // Throws UserError that names the holder and says what to do when another job works in `folder`; SystemError when the disk fails.
  static RunLock acquire(const std::filesystem::path& folder);
  RunLock(RunLock&&) noexcept;
  RunLock& operator=(RunLock&&) noexcept;
  ~RunLock();  // releases

 private:
  struct State;
  explicit RunLock(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace magicid::run_directory
