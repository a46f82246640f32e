// Reading a network's tensors by name, with every problem reported at once.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "storage/safetensors.h"

namespace magicid::models::nn {

// Where tensors are placed and in which dtype they are computed with.
struct Placement {
  c10::Device device = c10::kCPU;
  at::ScalarType dtype = at::kFloat;
};

// The tensors of one network and a record of which were taken.
//
//   Weights weights = Weights::open_folder(folder, placement);      // sharded index or single file, diffusers' and transformers' names
//   auto w = weights.take("proj.weight", {out, in});                // shape is checked; a missing tensor is recorded, not thrown
//   weights.finish();                                               // one UserError: all missing, surplus, wrong shapes and dtypes
class Weights {
 public:
  // Finds diffusion_pytorch_model.safetensors, model.safetensors or their *.safetensors.index.json, and variants (*.fp16.safetensors)
  // when there is nothing else. Throws UserError when there is no weight file or a shard is missing.
  static Weights open_folder(const std::filesystem::path& folder, const Placement& placement);
  static Weights open_file(const std::filesystem::path& file, const Placement& placement);
  // From tensors in memory; `origin` is used in messages.
  static Weights from_tensors(storage::NamedTensors tensors, std::string origin, const Placement& placement);

  // A view under `prefix` (with its dot, "double_blocks.0."); shares the record with its parent.
  Weights sub(const std::string& prefix) const;

  bool contains(const std::string& name) const;
  // Names below this view's prefix, without it, sorted.
  std::vector<std::string> names() const;

  // The tensor, copied to the placement (never a view on the mapping). A missing tensor or wrong shape (-1 matches any size) is
  // recorded for finish(), and an empty-valued tensor of that shape is returned so that loading can go on. Floating tensors take
  // the placement's dtype; integer tensors keep theirs.
  at::Tensor take(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  // As take, or an undefined tensor when the file has none.
  at::Tensor take_optional(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  // As take with the dtype given instead of the placement's (RMSNorm weights and the like that stay in fp32).
  at::Tensor take_as(const std::string& name, std::initializer_list<std::int64_t> shape, at::ScalarType dtype) const;
  // Marks tensors as known but not needed (an encoder's unused head): names that begin with `prefix`.
  void ignore(const std::string& prefix) const;

  // Throws UserError that lists everything recorded, and surplus tensors, unless there was nothing.
  void finish() const;

  const Placement& placement() const;
  const std::string& origin() const;

 private:
  struct Record;
  std::shared_ptr<Record> record_;
  std::string prefix_;
};

}  // namespace magicid::models::nn
