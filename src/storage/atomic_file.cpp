#include "storage/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <string>

#include "base/errors.h"
#include "storage/files.h"

namespace magicid::storage {
namespace {

using base::errno_text;
using base::SystemError;

void sync_path(const std::filesystem::path& path, int flags, const char* what) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) throw SystemError(path.string(), ": cannot be opened to flush ", what, ": ", errno_text(errno));
  const int result = ::fsync(fd);
  const int failure = errno;
  ::close(fd);
  // Some network file systems refuse fsync on folders; the rename itself is still ordered there.
  if (result != 0 && !(failure == EINVAL && (flags & O_DIRECTORY)))
    throw SystemError(path.string(), ": flushing ", what, " failed: ", errno_text(failure), ". The earlier file, if any, is unchanged.");
}

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<unsigned> counter{0};
  char host[64] = {};
  ::gethostname(host, sizeof host - 1);
  // Unique over ranks, nodes and threads that share the folder; ends in .tmp, so that leftovers of a kill are recognised.
  return path.parent_path() / ("." + path.filename().string() + "." + host + "." + std::to_string(::getpid()) + "." + std::to_string(counter++) + ".tmp");
}

}  // namespace

void write_atomically(const std::filesystem::path& path, const std::function<void(const std::filesystem::path&)>& write) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw SystemError(folder.string(), ": folder cannot be created: ", code.message());
  const auto temporary = temporary_name(folder / path.filename());
  try {
    write(temporary);
    sync_path(temporary, O_RDONLY, "the file");
    std::filesystem::rename(temporary, path, code);
    if (code) throw SystemError(path.string(), ": cannot be renamed into place: ", code.message());
  } catch (...) {
    std::filesystem::remove(temporary, code);
    throw;
  }
  sync_path(folder, O_RDONLY | O_DIRECTORY, "the folder");
}

void write_text_atomically(const std::filesystem::path& path, std::string_view text) {
  write_atomically(path, [&](const std::filesystem::path& temporary) {
    std::ofstream out(temporary, std::ios::binary);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    out.close();
    if (!out) throw SystemError(path.string(), ": write of ", text.size(), " bytes failed: ", errno_text(errno), ". Is the disk full?");
  });
}

std::string read_text(const std::filesystem::path& path) {
  const int fd = open_for_reading(path, /*regular=*/false);
  std::string text;
  char piece[1 << 16];
  for (;;) {
    const ssize_t count = ::read(fd, piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    const int failure = errno;
    if (count <= 0) ::close(fd);
    // Half of a text is none: a manifest that was cut by the disk must not be taken for a damaged one.
    if (count < 0) throw SystemError(path.string(), ": read failed: ", errno_text(failure));
    if (count == 0) return text;
    text.append(piece, static_cast<std::size_t>(count));
  }
}

}  // namespace magicid::storage
