// Qwen2.5-VL: what it answers about a video.
// Source: transformers' Qwen2_5_VLForConditionalGeneration (5.24).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "models/nn/weights.h"
#include "models/qwen2_5_vl/config.h"
#include "models/qwen2_5_vl/language_model.h"
#include "models/qwen2_5_vl/video_grid.h"
#include "models/qwen2_5_vl/vision_tower.h"

namespace magicid::models::qwen2_5_vl {

// One text with one video, as the processor makes them.
struct VideoQuestion {
  std::vector<std::int64_t> input_ids;  // with grid.patches() / merge^2 video tokens in one run
  at::Tensor pixel_values_videos;       // [grid.patches(), patch_values] float
  VideoGrid grid;
  double second_per_grid = 1;  // seconds that one patch lasts: temporal_patch_size / frame rate
};

class QwenVl {
 public:
  // Reads config.json and the weights of a folder, under transformers' names of today (`model.language_model.`, `model.visual.`) or those of the published
  // files (`model.`, `visual.`). Throws UserError listing every problem.
  static QwenVl load(const std::filesystem::path& folder, const nn::Placement& placement);
  static QwenVl from_weights(const QwenVlConfig& config, const nn::Weights& weights);

  // Tokens [patches / merge^2, D] that stand for the video among the text's.
  at::Tensor video_features(const at::Tensor& pixel_values_videos, const VideoGrid& grid) const;

  // Logits [last, V] float, on the CPU, of the tokens that follow each of the last `last` tokens: with 1, of the first token of the answer. One pass over the
  // whole text. Throws UserError when the video's tokens do not fit the text.
  at::Tensor logits(const VideoQuestion& question, std::int64_t last = 1) const;

  const QwenVlConfig& config() const { return config_; }

 private:
  QwenVlConfig config_;
  nn::Placement placement_;
  VisionTower vision_;
  LanguageModel language_;
};

}  // namespace magicid::models::qwen2_5_vl
