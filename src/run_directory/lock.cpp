#include "run_directory/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/errors.h"
#include "base/log.h"

namespace magicid::run_directory {
namespace {

namespace fs = std::filesystem;
using base::SystemError;
using base::UserError;
using nlohmann::json;

constexpr auto heartbeat = std::chrono::seconds(20);
constexpr double silence = 180;  // seconds

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// When the process started, in clock ticks since boot: tells a process from a later one with the same number. Empty when it is gone.
std::string start_time(long pid) {
  const std::string line = first_line("/proc/" + std::to_string(pid) + "/stat");
  const auto end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return {};
  std::istringstream fields(line.substr(end_of_name + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i)
    if (!(fields >> field) || (i == 3 && (field == "Z" || field == "X"))) return {};  // a zombie holds nothing
  return field;
}

std::string clock_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

json self_description() {
  static std::atomic<unsigned> counter{0};
  return {{"host", host_name()},
          {"boot", first_line("/proc/sys/kernel/random/boot_id")},
          {"pid", static_cast<long>(::getpid())},
          {"started", start_time(::getpid())},
          {"slurm_job", environment("SLURM_JOB_ID")},
          {"slurm_restart", std::atoi(environment("SLURM_RESTART_COUNT").c_str())},
          {"since", clock_text()},
          {"nonce", counter++}};
}

// Seconds since the lock was touched, by the clock of the file system that holds it.
double age_of(const fs::path& lock) {
  const fs::path probe = lock.string() + ".clock." + host_name() + "." + std::to_string(::getpid());
  const int fd = ::open(probe.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) throw SystemError(probe.string(), ": cannot be created: ", base::errno_text(errno));
  struct stat now{}, then{};
  const bool known = ::write(fd, "x", 1) == 1 && ::fstat(fd, &now) == 0 && ::stat(lock.c_str(), &then) == 0;
  ::close(fd);
  ::unlink(probe.c_str());
  return known ? std::difftime(now.st_mtime, then.st_mtime) : 0;
}

// Empty when another job holds the lock; otherwise why it does not.
std::string why_stale(const json& holder, const fs::path& lock) {
  const json self = self_description();
  const auto same = [&](const char* key) { return holder.contains(key) && holder[key] == self[key]; };
  if (holder.is_object() && holder.contains("pid") && holder["pid"].is_number_integer()) {
    if (same("host") && same("boot")) {
      const long pid = holder["pid"].get<long>();
      const std::string started = start_time(pid);
      if (started.empty()) return "its process is gone";
      return holder.value("started", "") == started ? "" : "its process is gone and another has its number";
    }
    if (same("host")) return "the machine was restarted since";
    if (self["slurm_job"] != "" && same("slurm_job") && holder.value("slurm_restart", 0) < self["slurm_restart"].get<int>())
      return "it belongs to an earlier start of this Slurm job";
  }
  const double age = age_of(lock);
  return age > silence ? base::concat("it was not touched for ", age, " seconds") : "";
}

json read_holder(const fs::path& lock) {
  std::ifstream in(lock);
  std::ostringstream text;
  text << in.rdbuf();
  return json::parse(text.str(), nullptr, false);
}

// False when `path` is there already.
bool write_new(const fs::path& path, const json& content) {
  const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (fd < 0 && errno == EEXIST) return false;
  if (fd < 0) throw SystemError(path.string(), ": cannot be created: ", base::errno_text(errno));
  const std::string text = content.dump(1) + "\n";
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int failure = errno;
  ::close(fd);
  if (written) return true;
  ::unlink(path.c_str());
  throw SystemError(path.string(), ": cannot be written: ", base::errno_text(failure));
}

// The lock appears with its holder's name inside: one without a name would have to be waited for when its process dies in between. False when there is one.
bool create(const fs::path& lock, const json& content) {
  const fs::path named = lock.string() + "." + host_name() + "." + std::to_string(::getpid()) + "." + content["nonce"].dump();
  ::unlink(named.c_str());
  write_new(named, content);
  const bool linked = ::link(named.c_str(), lock.c_str()) == 0;
  const int failure = errno;
  ::unlink(named.c_str());
  if (linked) return true;
  if (failure == EEXIST) return false;
  return write_new(lock, content);  // a file system without hard links
}

// Serialises judging and taking over where the file system has flock; elsewhere two takers of one stale lock would have to collide
// within microseconds.
struct FolderGuard {
  int fd;
  explicit FolderGuard(const fs::path& folder) : fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd >= 0) ::flock(fd, LOCK_EX);
  }
  ~FolderGuard() {
    if (fd >= 0) ::close(fd);
  }
};

// Names and clocks of starts of this host that were killed before they unlinked them. Called under the guard. Where that guards nothing a start may lose its
// name in this moment: create() then writes the lock itself.
void remove_leavings(const fs::path& lock) {
  const std::string prefix = lock.filename().string() + ".", host = host_name() + ".";
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(lock.parent_path(), code)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix + host) || name.starts_with(prefix + "clock." + host)) ::unlink(entry.path().c_str());
  }
}

}  // namespace

struct RunLock::State {
  fs::path path;
  json self;
  std::mutex mutex;
  std::condition_variable changed;
  bool stop = false;
  std::thread thread;

  void beat() {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, heartbeat, [&] { return stop; })) ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  }
};

RunLock::RunLock(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunLock::RunLock(RunLock&&) noexcept = default;
RunLock& RunLock::operator=(RunLock&&) noexcept = default;

RunLock RunLock::acquire(const fs::path& folder) {
  auto state = std::make_unique<State>();
  state->path = folder / "run.lock";
  state->self = self_description();
  {
    FolderGuard guard(folder);
    for (int attempt = 0; !create(state->path, state->self); ++attempt) {
      const json holder = read_holder(state->path);
      const std::string stale = why_stale(holder, state->path);
      const std::string who = holder.is_object() ? base::concat("process ", holder.value("pid", 0L), " on ", holder.value("host", "an unknown host"),
                                                                holder.value("slurm_job", "").empty() ? "" : ", Slurm job " + holder.value("slurm_job", ""),
                                                                ", since ", holder.value("since", "?"))
                                                 : std::string("a process that has not named itself yet");
      if (stale.empty() || attempt == 3)
        throw UserError(folder.string(), ": another job works in this run directory (", who, "). Wait for it or stop it; if it is certainly gone, delete ",
                        state->path.string(), ".");
      base::log::warning(base::concat(folder.string(), ": taking over the lock of ", who, ": ", stale));
      ::unlink(state->path.c_str());
    }
    remove_leavings(state->path);
  }
  state->thread = std::thread([s = state.get()] { s->beat(); });
  return RunLock(std::move(state));
}

RunLock::~RunLock() {
  if (!state_) return;
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
  // Somebody may have deleted our lock and taken the run over.
  if (read_holder(state_->path) == state_->self) ::unlink(state_->path.c_str());
}

}  // namespace magicid::run_directory
