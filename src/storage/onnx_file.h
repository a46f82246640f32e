// The tensors and the order of operations of an ONNX file, read from protobuf's wire format without its library: of a network that we know, the weights are all
// that is wanted, and names are given by the operations in which they stand. Sources: onnx/onnx.proto (field numbers), protobuf's documentation of the
// encoding.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "storage/mapped_file.h"

namespace magicid::storage {

struct OnnxNode {
  std::string operation;  // "Conv"
  std::vector<std::string> input, output;
  std::map<std::string, double> numbers;                          // attributes that are a number
  std::map<std::string, std::vector<std::int64_t>> number_lists;  // attributes that are a list of whole numbers
};

class OnnxFile {
 public:
  // Throws UserError that names the file and what is wrong with it: not ONNX, cut off, weights in files beside it, types that this program does not read.
  static OnnxFile open(const std::filesystem::path& path);
  // Whether the bytes can be a model of ONNX: a message with a version first.
  static bool is_onnx(const MappedFile& file);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::vector<OnnxNode>& nodes() const { return nodes_; }       // in the order in which they are computed
  const std::vector<std::string>& inputs() const { return inputs_; }  // of the graph, weights among them in old files
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  std::vector<std::string> names() const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  at::ScalarType dtype(const std::string& name) const;
  at::Tensor at(const std::string& name) const;  // a copy

 private:
  struct Entry {
    at::ScalarType type = at::kFloat;
    std::vector<std::int64_t> shape;
    std::vector<std::string_view> packed;  // runs of elements in the file
  };
  friend struct OnnxParser;
  const Entry& find(const std::string& name) const;

  std::shared_ptr<const MappedFile> file_;
  std::vector<OnnxNode> nodes_;
  std::vector<std::string> inputs_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace magicid::storage
