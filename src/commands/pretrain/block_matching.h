// Optical flow without learning, for comparison: the shift under which the surroundings of a pixel differ least.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace magicid::commands::pretrain {

// first, second [3,H,W] in 0..1 -> flow [2,H,W] (x, y) in pixels, in steps of half a pixel, at most `reach` to each side. The squared difference is summed over
// block x block pixels (odd); borders are repeated. Of equal shifts the shorter one counts, so that plain surfaces stand still.
at::Tensor match_blocks(const at::Tensor& first, const at::Tensor& second, std::int64_t block = 5, std::int64_t reach = 4);

}  // namespace magicid::commands::pretrain
