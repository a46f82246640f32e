// The kinds of error, and the exit codes that scripts and Slurm see.
//
// A message says what happened, where (file, line, key, rank), what was expected and what to do.
#pragma once

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>

namespace magicid::base {

enum class ExitCode : int {
  success = 0,
  user = 2,      // bad input or configuration
  system = 3,    // disk, network, device
  peer = 4,      // another rank was lost or hangs
  bug = 70,      // a broken invariant: ours
  requeue = 75,  // stopped on request after a checkpoint: start the same command again
};

// Joins the parts as an ostream would: concat("rank ", 3, " of ", 4).
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

class Error : public std::runtime_error {
 public:
  ExitCode exit_code() const noexcept { return exit_code_; }

 protected:
  Error(ExitCode exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}

 private:
  ExitCode exit_code_;
};

// Bad input or configuration; names the file, line or key and what was expected.
class UserError : public Error {
 public:
  template <class... Parts>
  explicit UserError(const Parts&... parts) : Error(ExitCode::user, concat(parts...)) {}
};

// Disk, network or device failed.
class SystemError : public Error {
 public:
  template <class... Parts>
  explicit SystemError(const Parts&... parts) : Error(ExitCode::system, concat(parts...)) {}
};

// Another rank died, hangs or reported an error of its own.
class PeerError : public Error {
 public:
  template <class... Parts>
  explicit PeerError(const Parts&... parts) : Error(ExitCode::peer, concat(parts...)) {}
};

// Not a failure: work was saved and the job asks to be started again (signal, time limit).
class RequeueRequest : public Error {
 public:
  template <class... Parts>
  explicit RequeueRequest(const Parts&... parts) : Error(ExitCode::requeue, concat(parts...)) {}
};

// A bug of ours.
class InvariantError : public Error {
 public:
  template <class... Parts>
  explicit InvariantError(const Parts&... parts) : Error(ExitCode::bug, concat(parts...)) {}
};

// Throws InvariantError with the parts unless `condition` holds.
template <class... Parts>
void check_invariant(bool condition, const Parts&... parts) {
  if (!condition) throw InvariantError(parts...);
}

// The text of errno, e.g. "No space left on device".
std::string errno_text(int error_number);

// Whether the host's memory ran out, which every library says in its own way: std::bad_alloc, LibTorch's allocator and OpenCV by their texts, ENOMEM of the
// system. Says nothing about the input: who turns a library's errors into "this file is damaged" asks here first.
bool is_out_of_memory(const std::exception& error) noexcept;

}  // namespace magicid::base
