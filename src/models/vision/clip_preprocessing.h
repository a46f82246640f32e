// What CLIP's image encoder expects of a picture.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>

namespace magicid::models::vision {

// Bicubic resize with antialiasing, centre crop, normalisation.
// Source: transformers' CLIPImageProcessor (image_processing_backends.py).
struct ClipPreprocessing {
  std::int64_t shortest_edge = 224;  // or 0: resize to exactly resize_height x resize_width
  std::int64_t resize_height = 0, resize_width = 0;
  std::int64_t crop_height = 224, crop_width = 224;
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std{0.26862954, 0.26130258, 0.27577711};

  // Reads preprocessor_config.json, or the image_processor object of processor_config.json, or, when there is neither, takes CLIP's own
  // figures with `image_size` pixels. Throws UserError for settings that this program does not follow (another filter than bicubic, steps
  // switched off, a crop larger than the resized picture).
  static ClipPreprocessing load(const std::filesystem::path& folder, std::int64_t image_size);

  // frames [N,3,H,W] RGB in 0..1, floating -> [N,3,crop_height,crop_width] float on the same device.
  // Works on 8-bit levels, rounding after each direction of the resize as the reference does, in float where the reference has fixed point.
  // Against the PIL-based processor at most one level differs, in 0.02% of the values; against the tensor-based one in 0.8%
  // (clip_vision_test prints the figures). Differentiable: roundings pass the gradient on, levels that are cut at 0 or 255 do not. Throws InvariantError for
  // another shape.
  at::Tensor operator()(const at::Tensor& frames) const;
};

}  // namespace magicid::models::vision
