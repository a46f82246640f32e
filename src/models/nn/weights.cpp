#include "models/nn/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "base/names.h"
#include "base/stop_signals.h"
#include "models/nn/weight_files.h"

namespace magicid::models::nn {
namespace {

using base::UserError;
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
  WeightFiles files;
  storage::NamedTensors tensors;  // or tensors in memory
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
};

Weights Weights::open_folder(const fs::path& folder, const Placement& placement) {
  Weights weights;
  weights.record_ = std::make_shared<Record>();
  weights.record_->origin = folder.string();
  weights.record_->placement = placement;
  weights.record_->files = find_weights(folder);
  return weights;
}

Weights Weights::open_file(const fs::path& file, const Placement& placement) {
  Weights weights;
  weights.record_ = std::make_shared<Record>();
  weights.record_->origin = file.string();
  weights.record_->placement = placement;
  add_weights(weights.record_->files, file);
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
