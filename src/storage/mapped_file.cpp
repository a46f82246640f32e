#include "storage/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/errors.h"
#include "storage/files.h"

namespace magicid::storage {

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  const int fd = open_for_reading(path);
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    const int failure = errno;
    ::close(fd);
    throw base::SystemError(path.string(), ": cannot be examined: ", base::errno_text(failure));
  }
  file->size_ = static_cast<std::uint64_t>(status.st_size);
  if (file->size_ == 0) {
    ::close(fd);
    return file;
  }
  void* const address = ::mmap(nullptr, file->size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
  const int failure = errno;
  ::close(fd);
  if (address == MAP_FAILED) {
    file->size_ = 0;
    throw base::SystemError(path.string(), ": cannot be mapped into memory: ", base::errno_text(failure));
  }
  file->data_ = static_cast<char*>(address);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::string_view MappedFile::view(std::uint64_t offset, std::uint64_t count) const {
  base::check_invariant(offset <= size_ && count <= size_ - offset, path_.string(), ": bytes ", offset, " to ", offset + count, " of ", size_);
  return {data_ + offset, count};
}

}  // namespace magicid::storage
