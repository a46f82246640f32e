// Optical flow without learning, for comparison: the shift under which the surroundings of a pixel differ least.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace magicid::pretraining {

// first, second [3,H,W] float on the CPU, in 0..1 -> flow [2,H,W] float, (x, y) in pixels from a pixel of `first` to its match in `second`, in steps of half a
// pixel, at most `reach` pixels to each side (> 0). The squared difference of colours is summed over block x block pixels around (odd, > 0); borders are
// repeated. Of equal shifts the shorter one counts, so that plain surfaces stand still. Time and memory grow with (4 reach + 1)^2 HW. Throws InvariantError for
// other shapes or an even block.
at::Tensor match_blocks(const at::Tensor& first, const at::Tensor& second, std::int64_t block = 5, std::int64_t reach = 4);

}  // namespace magicid::pretraining
