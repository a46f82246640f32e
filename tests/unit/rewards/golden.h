// The golden figures and the numbers they were made from (tests/reference/make_rewards.py).
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <nlohmann/json.hpp>
#include <string>

#include "support/formula_weights.h"

namespace magicid::rewards {

inline nlohmann::json golden() { return tests::read_json(std::string(MAGICID_TEST_DATA) + "/rewards/golden.json"); }

inline at::Tensor fraction(const std::string& name, std::vector<std::int64_t> shape) {
  at::Tensor values = at::empty(shape, at::kDouble);
  std::uint64_t state = name.size() * 7919 + 17;
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    state = (state * 1103515245 + 12345) % 2147483648u;
    values.data_ptr<double>()[i] = static_cast<double>(state) / 1073741824.0 - 1;
  }
  return values;
}

}  // namespace magicid::rewards
