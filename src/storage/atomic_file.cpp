#include "storage/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>

#include "base/errors.h"

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
  std::error_code code;
  if (!std::filesystem::exists(path, code)) throw base::UserError(path.string(), ": no such file");
  if (std::filesystem::is_directory(path, code)) throw base::UserError(path.string(), ": is a folder, a file was expected");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw SystemError(path.string(), ": cannot be opened: ", errno_text(errno));
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) throw SystemError(path.string(), ": read failed: ", errno_text(errno));
  return text.str();
}

}  // namespace magicid::storage
