#include "models/nn/published_network.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "base/errors.h"

namespace magicid::models::nn {
namespace {

std::string shown_shape(const std::vector<std::int64_t>& shape) {
  std::ostringstream text;
  text << '[';
  for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? "," : "") << shape[i];
  text << ']';
  return text.str();
}

}  // namespace

const SourceTensor* PlanBuilder::find(const std::string& name, const Shape& shape) {
  const auto it = source_.tensors.find(name);
  const bool asked_before = std::find(used_.begin(), used_.end(), name) != used_.end();
  used_.push_back(name);
  if (it == source_.tensors.end()) {
    if (!asked_before) plan_.missing.push_back(name);
    return nullptr;
  }
  if (it->second.shape != shape) {
    if (!asked_before) plan_.wrong.push_back(it->second.name + ": shape " + shown_shape(it->second.shape) + ", expected " + shown_shape(shape));
    return nullptr;
  }
  return &it->second;
}

void PlanBuilder::copy(const std::string& out, const std::string& name, const Shape& shape) {
  if (const SourceTensor* found = find(name, shape)) plan_.tensors.push_back({out, found->dtype, shape, found->read});
}

void PlanBuilder::rows(const std::string& out, const std::string& name, const Shape& shape, std::int64_t first, std::int64_t count) {
  Shape part = shape;
  part[0] = count;
  make(out, name, shape, part, [=](const at::Tensor& whole) { return whole.slice(0, first, first + count); });
}

void PlanBuilder::make(const std::string& out, const std::string& name, const Shape& shape, const Shape& changed,
                       const std::function<at::Tensor(const at::Tensor&)>& change) {
  if (const SourceTensor* found = find(name, shape))
    plan_.tensors.push_back({out, found->dtype, changed, [read = found->read, change] { return change(read()); }});
}

void PlanBuilder::finish() {
  const std::set<std::string> used(used_.begin(), used_.end());
  for (const auto& [name, tensor] : source_.tensors) {
    const bool ignored = std::any_of(ignored_.begin(), ignored_.end(), [&name = name](const auto& prefix) { return name.starts_with(prefix); });
    if (!used.contains(name) && !ignored) plan_.surplus.push_back(tensor.name);
  }
}

}  // namespace magicid::models::nn
