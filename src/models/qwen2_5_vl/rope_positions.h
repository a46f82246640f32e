// Where text and video tokens stand: three positions for each token, time, row and column.
// Source: Qwen2_5_VLModel.get_rope_index of transformers (5.24).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "models/qwen2_5_vl/config.h"
#include "models/qwen2_5_vl/video_grid.h"

namespace magicid::models::qwen2_5_vl {

// [3, S] int64 for one text with one video. A text token's three positions are equal and grow by one. A video token's are those of its place in the video, from
// the position of the text before it on: floor(t * tokens_per_second * second_per_grid), row and column; the text behind goes on after the larger side of the
// frame. Throws UserError when the video's tokens in `input_ids` are not one run of grid.patches() / merge^2.
at::Tensor rope_positions(const std::vector<std::int64_t>& input_ids, const QwenVlConfig& config, const VideoGrid& grid, double second_per_grid);

}  // namespace magicid::models::qwen2_5_vl
