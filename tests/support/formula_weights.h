// Random-looking weights from a formula, the same in tests/reference/formula_weights.py, so that golden files need not hold weights.
//
// Element i of the tensor `name`: u = (splitmix64(fnv1a64(name) + i * 0x9E3779B97F4A7C15) >> 40) / 2^24, s = 2u - 1, and by name and shape:
//   *running_var 0.5 + u | *running_mean 0.2 s | *num_batches_tracked 0 | 1-d *bias 0.1 s | other 1-d and 0-d 1 + 0.2 s | else s * sqrt(3 / fan_in)
// with fan_in = product of all dimensions but the first. Computed in double, rounded to float32.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "storage/safetensors.h"

namespace magicid::tests {

inline at::Tensor formula_tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
  const auto ends_with = [&](const char* suffix) { return name.ends_with(suffix); };
  if (ends_with("num_batches_tracked")) return at::zeros(shape, at::kLong);
  std::uint64_t seed = 0xcbf29ce484222325ull;
  for (unsigned char c : name) seed = (seed ^ c) * 0x100000001b3ull;
  at::Tensor tensor = at::empty(shape, at::kFloat);
  double fan_in = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) fan_in *= static_cast<double>(shape[d]);
  const double bound = std::sqrt(3.0 / fan_in);
  float* out = tensor.data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    std::uint64_t z = seed + static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15ull;
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    const double u = static_cast<double>(z >> 40) / 16777216.0, s = 2 * u - 1;
    double value;
    if (ends_with("running_var")) value = 0.5 + u;
    else if (ends_with("running_mean")) value = 0.2 * s;
    else if (shape.size() <= 1) value = ends_with("bias") ? 0.1 * s : 1 + 0.2 * s;
    else value = s * bound;
    out[i] = static_cast<float>(value);
  }
  return tensor;
}

// All tensors listed in a JSON object {name: [shape]}.
inline storage::NamedTensors formula_tensors(const nlohmann::json& shapes) {
  storage::NamedTensors tensors;
  for (const auto& [name, shape] : shapes.items()) tensors[name] = formula_tensor(name, shape.get<std::vector<std::int64_t>>());
  return tensors;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("test data missing: " + path.string());
  return nlohmann::json::parse(in);
}

// max |a - b| / max |b|: the norm in which all parity figures of this project are stated.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return std::numeric_limits<double>::infinity();
  const at::Tensor a = actual.to(at::kDouble), b = expected.to(at::kDouble);
  const double scale = b.abs().max().item<double>();
  return a.sub(b).abs().max().item<double>() / (scale > 0 ? scale : 1.0);
}

}  // namespace magicid::tests
