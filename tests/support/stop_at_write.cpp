// A shared library for LD_PRELOAD that ends the process, or fills its disk, at a chosen call that changes a file: write, pwrite, writev, pwritev, fsync,
// fdatasync, ftruncate, rename, renameat, link, remove. Only calls on paths that match are counted. For tests, on Linux with glibc.
//
//   MAGICID_STOP_PATHS  patterns of fnmatch(3), separated by colons; a path matches when one of them does. Of two paths one suffices. Unset: nothing is counted
//   MAGICID_STOP_LOG    each counted call is appended to this file: its number, name, path, and for two paths the second
//   MAGICID_STOP_AT     the number of the call, from 1. Unset: only counts
//   MAGICID_STOP_HOW    before | after (the call) | torn (after half of the bytes; a call without bytes: before) | full (this and every later one that takes
//                       space fails with ENOSPC)
//
// The end is SIGKILL to itself: no handler, destructor or buffer gets a word.
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

enum class How { before, after, torn, full };

struct Settings {
  std::string patterns, log;
  long stop_at = 0;
  How how = How::before;

  Settings() {
    const auto value = [](const char* name) { return std::string(std::getenv(name) ? std::getenv(name) : ""); };
    patterns = value("MAGICID_STOP_PATHS");
    log = value("MAGICID_STOP_LOG");
    stop_at = std::atol(value("MAGICID_STOP_AT").c_str());
    const std::string word = value("MAGICID_STOP_HOW");
    how = word == "after" ? How::after : word == "torn" ? How::torn : word == "full" ? How::full : How::before;
  }

  bool matches(const std::string& path) const {
    for (std::size_t start = 0; start < patterns.size();) {
      const auto end = std::min(patterns.find(':', start), patterns.size());
      if (::fnmatch(patterns.substr(start, end - start).c_str(), path.c_str(), 0) == 0) return true;
      start = end + 1;
    }
    return false;
  }
};

const Settings& settings() {
  static const Settings* const read = new Settings;  // calls may come after the destructors of globals
  return *read;
}

std::string path_of(int fd) {
  char name[32], path[PATH_MAX];
  std::snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(name, path, sizeof path);
  return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
}

// One counted call.
class Call {
 public:
  Call(const char* name, const std::string& path, const std::string& second = {}) {
    if (settings().patterns.empty() || (!settings().matches(path) && (second.empty() || !settings().matches(second)))) return;
    static std::atomic<long> calls{0};
    const long number = ++calls;
    if (!settings().log.empty()) {
      const std::string line = std::to_string(number) + '\t' + name + '\t' + path + (second.empty() ? "" : '\t' + second) + '\n';
      const int fd = ::open(settings().log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
      ::syscall(SYS_write, fd, line.data(), line.size());
      ::close(fd);
    }
    const long at = settings().stop_at;
    here_ = at > 0 && number == at && settings().how != How::full;
    full_ = at > 0 && number >= at && settings().how == How::full;
    if (here_ && settings().how == How::before) end();
  }
  bool torn() const { return here_ && settings().how == How::torn; }
  bool full() const { return full_; }
  [[noreturn]] static void end() {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
  template <class Result>
  Result done(Result result) const {
    if (here_) end();
    return result;
  }

 private:
  bool here_ = false, full_ = false;
};

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int no_space() {
  errno = ENOSPC;
  return -1;
}

template <class Real>
ssize_t write_bytes(const char* name, int fd, std::size_t count, const Real& write) {
  const Call call(name, path_of(fd));
  if (call.full()) return no_space();
  if (call.torn()) {
    write(count / 2);
    Call::end();
  }
  return call.done(write(count));
}

// The vectors as they are, or their first half (of the bytes).
template <class Real>
ssize_t write_vectors(const char* name, int fd, const iovec* vectors, int count, const Real& write) {
  std::string all;
  for (int i = 0; i < count; ++i) all.append(static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len);
  return write_bytes(name, fd, all.size(), [&](std::size_t bytes) {
    if (bytes == all.size()) return write(vectors, count);
    const iovec half{all.data(), bytes};
    return write(&half, 1);
  });
}

template <class Real>
int change_names(const char* name, const char* from, const char* to, bool takes_space, const Real& change) {
  const Call call(name, from, to);
  if (call.full() && takes_space) return no_space();
  if (call.torn()) Call::end();
  return call.done(change());
}

template <class Real>
int change_file(const char* name, const std::string& path, bool takes_space, const Real& change) {
  const Call call(name, path);
  if (call.full() && takes_space) return no_space();
  if (call.torn()) Call::end();
  return call.done(change());
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  static auto* const next = real<ssize_t(int, const void*, size_t)>("write");
  return write_bytes("write", fd, size, [&](size_t bytes) { return next(fd, data, bytes); });
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return write_bytes("pwrite", fd, size, [&](size_t bytes) { return next(fd, data, bytes, at); });
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  static auto* const next = real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return write_bytes("pwrite", fd, size, [&](size_t bytes) { return next(fd, data, bytes, at); });
}

ssize_t writev(int fd, const iovec* vectors, int count) {
  static auto* const next = real<ssize_t(int, const iovec*, int)>("writev");
  return write_vectors("writev", fd, vectors, count, [&](const iovec* v, int n) { return next(fd, v, n); });
}

ssize_t pwritev(int fd, const iovec* vectors, int count, off_t at) {
  static auto* const next = real<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  return write_vectors("pwritev", fd, vectors, count, [&](const iovec* v, int n) { return next(fd, v, n, at); });
}

ssize_t pwritev64(int fd, const iovec* vectors, int count, off64_t at) {
  static auto* const next = real<ssize_t(int, const iovec*, int, off64_t)>("pwritev64");
  return write_vectors("pwritev", fd, vectors, count, [&](const iovec* v, int n) { return next(fd, v, n, at); });
}

int fsync(int fd) {
  static auto* const next = real<int(int)>("fsync");
  return change_file("fsync", path_of(fd), true, [&] { return next(fd); });
}

int fdatasync(int fd) {
  static auto* const next = real<int(int)>("fdatasync");
  return change_file("fdatasync", path_of(fd), true, [&] { return next(fd); });
}

int ftruncate(int fd, off_t size) noexcept {
  static auto* const next = real<int(int, off_t)>("ftruncate");
  return change_file("ftruncate", path_of(fd), true, [&] { return next(fd, size); });
}

int ftruncate64(int fd, off64_t size) noexcept {
  static auto* const next = real<int(int, off64_t)>("ftruncate64");
  return change_file("ftruncate", path_of(fd), true, [&] { return next(fd, size); });
}

int rename(const char* from, const char* to) noexcept {
  static auto* const next = real<int(const char*, const char*)>("rename");
  return change_names("rename", from, to, true, [&] { return next(from, to); });
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) noexcept {
  static auto* const next = real<int(int, const char*, int, const char*)>("renameat");
  return change_names("renameat", from, to, true, [&] { return next(from_folder, from, to_folder, to); });
}

int link(const char* from, const char* to) noexcept {
  static auto* const next = real<int(const char*, const char*)>("link");
  return change_names("link", from, to, true, [&] { return next(from, to); });
}

int remove(const char* path) noexcept {
  static auto* const next = real<int(const char*)>("remove");
  return change_file("remove", path, false, [&] { return next(path); });
}

int unlink(const char* path) noexcept {
  static auto* const next = real<int(const char*)>("unlink");
  return change_file("unlink", path, false, [&] { return next(path); });
}
}
