// Which values a network begins with.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace magicid::models::nn {

// Values are functions of (seed, tensor name) alone, so that a part of a network's tensors can be made at a time.
struct InitialValues {
  std::optional<std::uint64_t> seed;                       // none: no values, tensors of LibTorch's meta device that only have a shape
  std::function<bool(const std::string& name)> only = {};  // which tensors are made; empty: all

  InitialValues(std::uint64_t seed) : seed(seed) {}
  static InitialValues shapes_alone() { return InitialValues(std::optional<std::uint64_t>()); }
  bool wants(const std::string& name) const { return !only || only(name); }

 private:
  explicit InitialValues(std::optional<std::uint64_t> seed) : seed(seed) {}
};

}  // namespace magicid::models::nn
