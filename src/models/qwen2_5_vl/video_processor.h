// Frames to the patches that Qwen2.5-VL's vision tower reads.
// Source: transformers' Qwen2VLVideoProcessor and Qwen2_5_VLProcessor (5.24), with frames given and not sampled.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>

#include "models/qwen2_5_vl/config.h"
#include "models/qwen2_5_vl/video_grid.h"

namespace magicid::models::qwen2_5_vl {

struct VideoPatches {
  at::Tensor pixel_values_videos;  // [grid.patches(), 3 x temporal_patch_size x patch_size x patch_size] float, on the CPU
  VideoGrid grid;
};

// Height and width, multiples of `factor`, close to the frame's own and to its aspect ratio, with an area from min_pixels to max_pixels. Throws UserError for a
// frame more than 200 times as long as wide.
std::array<std::int64_t, 2> smart_resize(std::int64_t height, std::int64_t width, std::int64_t factor, std::int64_t min_pixels, std::int64_t max_pixels);

class VideoProcessor {
 public:
  // From processor_config.json (its part video_processor), else video_preprocessor_config.json, else preprocessor_config.json, in which the published folders
  // keep it. Throws UserError where there is none of them, or for steps that this program does not take.
  static VideoProcessor load(const std::filesystem::path& folder, const VisionTowerConfig& vision);

  // frames [F,3,H,W] RGB in 0..1 on any device, all of them used. They become 8-bit levels first, as a decoded video has them; the last one is repeated to fill
  // the last patch. On the CPU always: the reference resizes 8-bit levels, which no GPU kernel does.
  VideoPatches operator()(const at::Tensor& frames) const;

  // Pixels of a frame, at least and at most.
  std::int64_t min_pixels() const { return min_pixels_; }
  std::int64_t max_pixels() const { return max_pixels_; }

 private:
  std::int64_t patch_size_ = 14, temporal_patch_size_ = 2, merge_size_ = 2;
  std::int64_t min_pixels_ = 128 * 28 * 28, max_pixels_ = 28 * 28 * 768;
  bool cap_pixels_per_frame_ = false;  // an even share of max_video_tokens is all that a frame may have
  std::int64_t max_video_tokens_ = 128000;
  std::array<double, 3> mean_ = {0.48145466, 0.4578275, 0.40821073}, std_ = {0.26862954, 0.26130258, 0.27577711};
};

}  // namespace magicid::models::qwen2_5_vl
