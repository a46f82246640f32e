// A whole file as memory, read from the disk as it is looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace magicid::storage {

// The mapping is private and writable, as tensors that are views on it must be; writing to one is an error of the caller's, and the file never changes.
class MappedFile {
 public:
  // Throws MissingFileError, UserError for a folder or a pipe, SystemError when the file cannot be opened, examined or mapped. An empty file has no data.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  char* data() const { return data_; }
  // `count` bytes from `offset` on; both must lie within the file (InvariantError).
  std::string_view view(std::uint64_t offset, std::uint64_t count) const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  char* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace magicid::storage
