// Weights as people hold them: one file or a folder of safetensors, of torch.save or of ONNX, under the names that their writer gave.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace magicid::storage {
class OnnxFile;
}

namespace magicid::models::nn {

struct SourceTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::function<at::Tensor()> read;  // from the disk, each time that it is called; may throw UserError for a damaged file
  std::string name;                  // in the file, whatever it is called here
};

struct WeightSource {
  std::filesystem::path path;
  std::string format;  // "safetensors", "torch.save", "ONNX"
  std::map<std::string, SourceTensor> tensors;
  std::map<std::string, double> numbers;          // that stand beside the tensors of torch.save
  std::map<std::string, std::string> metadata;    // of safetensors
  std::shared_ptr<const storage::OnnxFile> onnx;  // of ONNX alone: its tensors mean nothing without the order of operations
  std::vector<std::string> notes;                 // what was done on the way, for the user

  // A file of any of the formats, told by its contents, or a folder whose weights are shards of one of them. Only headers are read. Throws UserError that names
  // the file and what was expected: formats that are not read are refused by name (GGUF, torch.save from before 1.6, HDF5, Git LFS pointers).
  static WeightSource open(const std::filesystem::path& path);

  bool contains(const std::string& name) const { return tensors.contains(name); }
  // Size of a tensor along a dimension, for sizes that are read from shapes. Throws UserError when there is no such tensor or dimension.
  std::int64_t size(const std::string& name, std::size_t dimension) const;
  // How many whole numbers n from 0 on have a tensor `before`n`after`...
  std::int64_t count(const std::string& before, const std::string& after) const;

  // The part of a name before `signature`, with its dot: "model.diffusion_model.". Nothing when no name ends in it. Of several, "module." and "state_dict."
  // win, as training programs keep other copies beside them; else UserError.
  std::optional<std::string> prefix_of(const std::string& signature) const;
  // The tensors below `prefix`, without it.
  WeightSource below(const std::string& prefix) const;
  // Every tensor under the name that `rename` gives. Throws UserError when two get the same.
  WeightSource renamed(const std::function<std::string(const std::string&)>& rename) const;
};

}  // namespace magicid::models::nn
