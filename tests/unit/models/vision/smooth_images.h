// Smooth pictures from a formula, the same as tests/reference/smooth_images.py.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "support/formula_weights.h"

namespace magicid::tests {

// [count,3,height,width] in -1..1: noise on a grid of cells x cells, interpolated bilinearly.
inline at::Tensor smooth_images(const std::string& name, std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t cells) {
  const at::Tensor noise = formula_tensor(name, {count, 3, cells, cells}) / std::sqrt(3.0 / static_cast<double>(3 * cells * cells));
  return at::upsample_bilinear2d(noise, {height, width}, /*align_corners=*/true);
}

}  // namespace magicid::tests
