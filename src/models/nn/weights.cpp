#include "models/nn/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "base/stop_signals.h"
#include "models/nn/scaled_weights.h"
#include "storage/atomic_file.h"

namespace magicid::models::nn {
namespace {

using base::UserError;
using nlohmann::json;
namespace fs = std::filesystem;

std::string format_shape(c10::IntArrayRef shape) {
  std::ostringstream text;
  text << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i) text << ',';
    if (shape[i] < 0) text << '*';
    else text << shape[i];
  }
  text << ']';
  return text.str();
}

}  // namespace

struct Weights::Record {
  std::string origin;
  Placement placement;
  std::map<std::string, storage::SafetensorsFile> files;  // tensor name -> file that holds it
  storage::NamedTensors tensors;                          // or tensors in memory
  std::set<std::string> taken;
  std::vector<std::string> missing, wrong;
  std::vector<std::string> ignored_prefixes;

  bool contains(const std::string& name) const { return files.contains(name) || tensors.contains(name); }

  at::Tensor read(const std::string& name) const {
    const auto it = tensors.find(name);
    return it != tensors.end() ? it->second : files.at(name).at(name);
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, file] : files) all.push_back(name);
    for (const auto& [name, tensor] : tensors) all.push_back(name);
    std::sort(all.begin(), all.end());
    return all;
  }

  void add_file(const fs::path& path) {
    const auto file = storage::SafetensorsFile::open(path);
    if (const auto scales = scale_names(file.names()); !scales.empty())
      throw UserError(path.string(), ": its weights are stored with scales beside them (", base::join_names(scales, 3),
                      "); without them they would be wrong. `magicid import` writes a folder with the weights' values");
    for (const auto& name : file.names())
      if (!files.emplace(name, file).second) throw UserError(path.string(), ": tensor '", name, "' is also in ", files.at(name).path().string());
  }

  void add_index(const fs::path& index) {
    json parsed;
    try {
      parsed = json::parse(storage::read_text(index));
    } catch (const json::exception& error) {
      throw UserError(index.string(), ": not JSON: ", error.what());
    }
    if (!parsed.contains("weight_map") || !parsed["weight_map"].is_object()) throw UserError(index.string(), ": has no weight_map");
    std::set<std::string> shards;
    for (const auto& [name, shard] : parsed["weight_map"].items()) {
      if (!shard.is_string()) throw UserError(index.string(), ": weight_map.", name, " is not a file name");
      // A name with a folder in it could point anywhere on the disk.
      if (fs::path(shard.get<std::string>()).has_parent_path())
        throw UserError(index.string(), ": weight_map.", name, " points outside of the folder: ", shard.get<std::string>());
      shards.insert(shard.get<std::string>());
    }
    std::vector<std::string> absent;
    for (const auto& shard : shards)
      if (!fs::exists(index.parent_path() / shard)) absent.push_back(shard);
    if (!absent.empty())
      throw UserError(index.string(), ": ", absent.size(), " of ", shards.size(), " weight files are missing: ", base::join_names(absent),
                      ". Was the download complete?");
    for (const auto& shard : shards) add_file(index.parent_path() / shard);
    for (const auto& [name, shard] : parsed["weight_map"].items())
      if (!files.contains(name)) throw UserError(index.string(), ": names the tensor '", name, "', which ", shard.get<std::string>(), " does not hold");
  }
};

Weights Weights::open_folder(const fs::path& folder, const Placement& placement) {
  if (!fs::is_directory(folder)) throw UserError(folder.string(), ": no such folder; a folder with config.json and safetensors files was expected");
  Weights weights;
  weights.record_ = std::make_shared<Record>();
  weights.record_->origin = folder.string();
  weights.record_->placement = placement;
  for (const char* stem : {"diffusion_pytorch_model", "model"}) {
    if (fs::exists(folder / (std::string(stem) + ".safetensors.index.json"))) {
      weights.record_->add_index(folder / (std::string(stem) + ".safetensors.index.json"));
      return weights;
    }
    if (fs::exists(folder / (std::string(stem) + ".safetensors"))) {
      weights.record_->add_file(folder / (std::string(stem) + ".safetensors"));
      return weights;
    }
  }
  // Variants as diffusers names them: model.fp16.safetensors, model.safetensors.index.fp16.json.
  std::vector<fs::path> indices, singles, pickles;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("diffusion_pytorch_model.") || name.starts_with("model.");
    if (ours && name.find(".safetensors.index.") != std::string::npos && name.ends_with(".json")) indices.push_back(entry.path());
    else if (ours && name.ends_with(".safetensors") && name.find("-of-") == std::string::npos) singles.push_back(entry.path());
    else if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) pickles.push_back(entry.path());
  }
  if (indices.size() + singles.size() > 1)
    throw UserError(folder.string(),
                    ": holds several variants of the weights; keep one of them, named model.safetensors or diffusion_pytorch_model.safetensors");
  if (!indices.empty()) weights.record_->add_index(indices[0]);
  else if (!singles.empty()) weights.record_->add_file(singles[0]);
  else if (!pickles.empty())
    throw UserError(folder.string(), ": holds only pickled weights (", pickles[0].filename().string(),
                    "); save them as safetensors, e.g. with diffusers' save_pretrained(safe_serialization=True)");
  else throw UserError(folder.string(), ": has no weights; model.safetensors, diffusion_pytorch_model.safetensors or their .index.json was expected");
  return weights;
}

Weights Weights::open_file(const fs::path& file, const Placement& placement) {
  Weights weights;
  weights.record_ = std::make_shared<Record>();
  weights.record_->origin = file.string();
  weights.record_->placement = placement;
  weights.record_->add_file(file);
  return weights;
}

Weights Weights::from_tensors(storage::NamedTensors tensors, std::string origin, const Placement& placement) {
  Weights weights;
  weights.record_ = std::make_shared<Record>();
  weights.record_->origin = std::move(origin);
  weights.record_->placement = placement;
  weights.record_->tensors = std::move(tensors);
  return weights;
}

Weights Weights::sub(const std::string& prefix) const {
  Weights below = *this;
  below.prefix_ += prefix;
  return below;
}

bool Weights::contains(const std::string& name) const { return record_->contains(prefix_ + name); }

std::vector<std::string> Weights::names() const {
  std::vector<std::string> below;
  for (const auto& name : record_->names())
    if (name.starts_with(prefix_)) below.push_back(name.substr(prefix_.size()));
  return below;
}

namespace {

at::Tensor placed(const at::Tensor& tensor, const Placement& placement, at::ScalarType dtype) {
  const bool convert = at::isFloatingType(tensor.scalar_type());
  // copy = true: a view on the mapping would page in from disk in the middle of a step.
  return tensor.to(placement.device, convert ? dtype : tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true).contiguous();
}

}  // namespace

at::Tensor Weights::take_as(const std::string& name, std::initializer_list<std::int64_t> shape_list, at::ScalarType dtype) const {
  const std::vector<std::int64_t> shape(shape_list);
  const std::string full = prefix_ + name;
  const auto absent = [&] {
    std::vector<std::int64_t> sizes = shape;
    for (auto& extent : sizes) extent = std::max<std::int64_t>(extent, 0);
    return at::zeros(sizes, at::TensorOptions().dtype(dtype).device(record_->placement.device));
  };
  record_->taken.insert(full);
  base::stop_if_asked("loading " + record_->origin);
  if (!record_->contains(full)) {
    record_->missing.push_back(full);
    return absent();
  }
  at::Tensor tensor;
  try {
    tensor = record_->read(full);
    check_plain_cast(tensor, record_->origin + ": tensor '" + full + "'");
  } catch (const UserError& error) {  // a dtype that is not supported
    record_->wrong.push_back(error.what());
    return absent();
  }
  bool fits = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::size_t d = 0; fits && d < shape.size(); ++d) fits = shape[d] < 0 || tensor.size(static_cast<std::int64_t>(d)) == shape[d];
  if (!fits) {
    record_->wrong.push_back(base::concat(full, ": shape ", format_shape(tensor.sizes()), ", expected ", format_shape(shape)));
    return absent();
  }
  return placed(tensor, record_->placement, dtype);
}

at::Tensor Weights::take(const std::string& name, std::initializer_list<std::int64_t> shape) const { return take_as(name, shape, record_->placement.dtype); }

at::Tensor Weights::take_optional(const std::string& name, std::initializer_list<std::int64_t> shape) const {
  return contains(name) ? take(name, shape) : at::Tensor();
}

void Weights::ignore(const std::string& prefix) const { record_->ignored_prefixes.push_back(prefix_ + prefix); }

void Weights::finish() const {
  std::vector<std::string> surplus;
  for (const auto& name : record_->names()) {
    const bool known = record_->taken.contains(name) ||
                       std::any_of(record_->ignored_prefixes.begin(), record_->ignored_prefixes.end(), [&](const auto& p) { return name.starts_with(p); });
    if (!known) surplus.push_back(name);
  }
  if (record_->missing.empty() && record_->wrong.empty() && surplus.empty()) return;
  std::ostringstream text;
  text << record_->origin << ": the weights do not fit the network that its config.json describes.";
  const auto list = [&](const char* title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    text << "\n  " << lines.size() << ' ' << title << ':';
    for (const auto& line : lines) text << "\n    " << line;
  };
  list("missing", record_->missing);
  list("of wrong shape or dtype", record_->wrong);
  list("surplus", surplus);
  text << "\n  Does config.json belong to these weights?";
  throw UserError(text.str());
}

const Placement& Weights::placement() const { return record_->placement; }
const std::string& Weights::origin() const { return record_->origin; }

}  // namespace magicid::models::nn
