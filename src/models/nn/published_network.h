// A network as it is published, in any of its layouts, on its way into a folder of ours.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/nn/weight_source.h"
#include "storage/safetensors.h"

namespace magicid::models::nn {

// What an import writes, and what is wrong with the source.
struct ImportPlan {
  std::string layout;     // whose names the source has: "Tencent's names"
  nlohmann::json config;  // the folder's config.json
  std::string weights;    // stem of the weight files: "model" or "diffusion_pytorch_model"
  std::map<std::string, nlohmann::json> other_files;
  std::vector<storage::LazyTensor> tensors;
  std::vector<std::string> missing, wrong, surplus;  // names, and for wrong ones their shapes
  std::vector<std::string> assumed;                  // figures that no shape tells, taken from the published model: "rope_theta 256"
};

// Fills a plan from a source, tensor by tensor, and keeps account of what is missing, of another shape, or left over. Nothing is read before the plan is
// written.
class PlanBuilder {
 public:
  using Shape = std::vector<std::int64_t>;
  PlanBuilder(WeightSource source, ImportPlan& plan) : source_(std::move(source)), plan_(plan) {}

  // The source's tensor `name`, which must have this shape, under the name `out`.
  void copy(const std::string& out, const std::string& name, const Shape& shape);
  // `count` of its rows from `first` on; `shape` is that of the whole.
  void rows(const std::string& out, const std::string& name, const Shape& shape, std::int64_t first, std::int64_t count);
  // What `change` makes of it, of the shape `changed`.
  void make(const std::string& out, const std::string& name, const Shape& shape, const Shape& changed,
            const std::function<at::Tensor(const at::Tensor&)>& change);
  // A tensor of no source.
  void add(storage::LazyTensor tensor) { plan_.tensors.push_back(std::move(tensor)); }
  // Known and not needed: names that begin with `prefix`.
  void ignore(const std::string& prefix) { ignored_.push_back(prefix); }
  bool contains(const std::string& name) const { return source_.contains(name); }
  // Lists what is left over in the plan.
  void finish();

 private:
  const SourceTensor* find(const std::string& name, const Shape& shape);

  WeightSource source_;
  ImportPlan& plan_;
  std::vector<std::string> used_, ignored_;
};

// One KIND of `magicid import`.
struct PublishedNetwork {
  std::string kind;  // "hunyuanvideo-transformer"
  std::string what;  // "HunyuanVideo's transformer"
  // The part of the source's names before the network's own when it is one, else nothing.
  std::function<std::optional<std::string>(const WeightSource& source)> recognise;
  // `source` is what is below that prefix. `config` replaces what is read from the shapes. Throws UserError for a network that this program does not compute.
  std::function<ImportPlan(const WeightSource& source, const std::optional<nlohmann::json>& config)> plan;
};

}  // namespace magicid::models::nn
