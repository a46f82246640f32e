// Runs the built program as a user does: a process of its own, alone or on ranks, with its streams, exit code and time.
//
// The CMake file of a test passes MAGICID_PROGRAM="$<TARGET_FILE:magicid>" as a compile definition; the environment variable of that name,
// where set, takes its place (an installed program, or another build's).
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/temporary_folder.h"

namespace magicid::tests {

inline std::string program_path() {
  const char* other = std::getenv("MAGICID_PROGRAM");
  return other && *other ? other : MAGICID_PROGRAM;
}

struct ProgramOptions {
  int ranks = 0;                                     // 0: no mpirun
  double time_limit_s = 120;                         // then the whole process group is killed
  std::map<std::string, std::string> environment{};  // set, or unset where the value is empty, on top of this process' own
  std::filesystem::path folder{};                    // working directory; empty: this process' own
};

struct ProgramResult {
  int exit_code = -1;  // 128 + signal where one ended it, as shells have it
  bool timed_out = false;
  double seconds = 0;
  std::string out, err;

  // For GoogleTest's messages: EXPECT_EQ(result.exit_code, 0) << result.text();
  std::string text() const {
    return "exit code " + std::to_string(exit_code) + (timed_out ? " (time limit)" : "") + "\n--- stdout\n" + out + "--- stderr\n" + err + "---\n";
  }
};

// A started program. Leads a process group of its own, so that a signal reaches mpirun and its ranks. Killed when it is destroyed still running.
class RunningProgram {
 public:
  RunningProgram(const std::vector<std::string>& arguments, ProgramOptions options = {}) : options_(std::move(options)), start_(Clock::now()) {
    std::vector<std::string> command;
    if (options_.ranks > 0) command = {std::string(MAGICID_SOURCE_DIR) + "/launch/mpirun", "-n", std::to_string(options_.ranks)};
    command.push_back(program_path());
    command.insert(command.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (auto& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string out = (streams_ / "out").string(), err = (streams_ / "err").string();
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      ::setpgid(0, 0);
      const int null = ::open("/dev/null", O_RDONLY), o = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
                e = ::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (null < 0 || o < 0 || e < 0 || ::dup2(null, 0) < 0 || ::dup2(o, 1) < 0 || ::dup2(e, 2) < 0) ::_exit(127);
      if (!options_.folder.empty() && ::chdir(options_.folder.c_str()) != 0) ::_exit(127);
      for (const auto& [name, value] : options_.environment) value.empty() ? ::unsetenv(name.c_str()) : ::setenv(name.c_str(), value.c_str(), 1);
      ::execvp(argv[0], argv.data());
      ::_exit(127);
    }
    ::setpgid(pid_, pid_);
  }
  ~RunningProgram() {
    if (!ended_) {
      signal(SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  std::string out() const { return read_bytes(streams_ / "out"); }
  std::string err() const { return read_bytes(streams_ / "err"); }

  // To every process of the group.
  void signal(int number) const { ::kill(-pid_, number); }

  bool running() {
    if (!ended_ && ::waitpid(pid_, &status_, WNOHANG) == pid_) ended_ = true;
    return !ended_;
  }

  // Until it ends, or the time limit (counted from the start) kills it.
  ProgramResult wait() {
    ProgramResult result;
    while (running()) {
      if (seconds() > options_.time_limit_s) {
        result.timed_out = true;
        signal(SIGKILL);
        ::waitpid(pid_, &status_, 0);
        ended_ = true;
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    result.seconds = seconds();
    result.exit_code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    result.out = out();
    result.err = err();
    return result;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  ProgramOptions options_;
  TemporaryFolder streams_;
  Clock::time_point start_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// magicid ARGUMENTS... to its end.
inline ProgramResult run_program(const std::vector<std::string>& arguments, ProgramOptions options = {}) {
  return RunningProgram(arguments, std::move(options)).wait();
}

}  // namespace magicid::tests
