#include "storage/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace magicid::storage {
namespace {

namespace fs = std::filesystem;
using base::SystemError;

// The two answers of the system that mean that there is none.
bool means_absent(int error_number) { return error_number == ENOENT || error_number == ENOTDIR; }

}  // namespace

bool exists(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return true;
  if (means_absent(errno)) return false;
  throw SystemError(path.string(), ": whether it is there cannot be told: ", base::errno_text(errno));
}

std::vector<fs::path> list_folder(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code code;
  fs::directory_iterator it(folder, code);
  for (const fs::directory_iterator end; !code && it != end; it.increment(code)) found.push_back(it->path());
  if (code && !means_absent(code.value())) throw SystemError(folder.string(), ": the folder cannot be listed: ", code.message());
  std::sort(found.begin(), found.end());
  return found;
}

int open_for_reading(const fs::path& path, bool regular) {
  // Not blocking where a pipe of that name is refused: nobody may be at its other end.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (regular ? O_NONBLOCK : 0));
  if (fd < 0) {
    if (means_absent(errno)) throw MissingFileError(path.string(), ": no such file");
    throw SystemError(path.string(), ": cannot be opened: ", base::errno_text(errno));
  }
  struct stat status{};
  if (::fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || (!regular && !S_ISDIR(status.st_mode)))) return fd;
  ::close(fd);
  throw base::UserError(path.string(), S_ISDIR(status.st_mode) ? ": is a folder, a file was expected" : ": is not a regular file");
}

}  // namespace magicid::storage
