// The safetensors format: 8-byte little-endian header length, JSON header, raw tensors.
// Source: the format section of github.com/huggingface/safetensors (README, safetensors/src/tensor.rs).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace magicid::storage {

// A read-only file, mapped into memory. Everything is checked at opening: header limit (100 MB), JSON from the first byte to the padding of spaces, no name
// twice, known dtypes, sizes equal to shape times type without overflow, no overlaps, no gaps. Tensors are views that keep the mapping alive; writing to one is
// an error of the caller's (the mapping is private, the file never changes).
class SafetensorsFile {
 public:
  // Throws UserError naming the file, the tensor and a likely cause (truncated download, Git LFS pointer, ...).
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const;
  // A CPU view on the mapping. Throws UserError with the nearest name when there is none.
  at::Tensor at(const std::string& name) const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  // Throws UserError for a dtype of the format that this program does not compute with (e.g. F8_E8M0).
  at::ScalarType dtype(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

using NamedTensors = std::map<std::string, at::Tensor>;

// A tensor that is made when it is written, of the dtype and shape that the header announces before.
struct LazyTensor {
  std::string name;
  at::ScalarType dtype;
  std::vector<std::int64_t> shape;
  std::function<at::Tensor()> read;

  std::uint64_t bytes() const;  // its size in a file
};

// As write_safetensors below, one tensor in memory at a time. `written` is told the bytes of each tensor that is in the file. Throws InvariantError when `read`
// gives another dtype or shape than it announced.
void write_safetensors(const std::filesystem::path& path, std::vector<LazyTensor> tensors, const std::map<std::string, std::string>& metadata,
                       const std::function<void(std::uint64_t bytes)>& written = {});

// Writes atomically (temporary name, fsync, rename). Tensors of any device and stride; data is laid out by descending alignment,
// then name, as the reference writer does. A tensor of the meta device, which has no values, becomes a hole: it reads as zeros and takes no disk. Throws
// SystemError when the disk fails.
void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {});

}  // namespace magicid::storage
