// Files of torch.save: a zip archive with a pickle that describes the tensors and an entry for each storage.
// Sources: PyTorch's torch/serialization.py, torch/_utils.py, torch/csrc/jit/serialization/pickler.cpp (of scripted modules).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace magicid::storage {

// A read-only file. The pickle is read by a restricted reader that runs nothing (pickle.h): tensors, parameters, dictionaries, lists, tuples, texts, numbers. A
// tensor's name is the way to it through the dictionaries and lists, with dots: {"module": {"conv.weight": t}} holds "module.conv.weight". A scripted module
// (torch.jit) is read as the dictionary of its attributes; its code is not looked at.
class TorchFile {
 public:
  // Throws UserError that names the file and the position: another kind of file, torch's format from before version 1.6, damaged or compressed archives,
  // opcodes and names that are not known, tensors that reach outside of their storage. Nothing but the directory and the pickle is read.
  static TorchFile open(const std::filesystem::path& path);
  // Whether the file begins as one of torch.save's does, in its present or its old format.
  static bool is_torch_file(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  at::ScalarType dtype(const std::string& name) const;
  // A contiguous tensor, a view on the mapping where the file holds it that way. The first tensor of a storage compares the storage's checksum. Throws
  // UserError with the nearest name when there is none, and for a damaged storage.
  at::Tensor at(const std::string& name) const;
  // Numbers that stand beside tensors ("epoch": 3), under their names.
  const std::map<std::string, double>& numbers() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

}  // namespace magicid::storage
