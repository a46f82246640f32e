#include "models/qwen2_5_vl/rope_positions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include <algorithm>

#include "base/errors.h"

namespace magicid::models::qwen2_5_vl {

at::Tensor rope_positions(const std::vector<std::int64_t>& input_ids, const QwenVlConfig& config, const VideoGrid& grid, double second_per_grid) {
  const std::int64_t merge = config.vision.spatial_merge_size, rows = grid.h / merge, columns = grid.w / merge, tokens = grid.t * rows * columns;
  const auto first = std::find(input_ids.begin(), input_ids.end(), config.video_token_id);
  const auto end = std::find_if(first, input_ids.end(), [&](std::int64_t id) { return id != config.video_token_id; });
  if (end - first != tokens || std::find(end, input_ids.end(), config.video_token_id) != input_ids.end())
    throw base::UserError("the text holds ", std::count(input_ids.begin(), input_ids.end(), config.video_token_id), " video tokens where the video has ",
                          tokens, "; the prompt must not hold the model's own video token");
  const std::int64_t before = first - input_ids.begin(), after = input_ids.end() - end;
  const auto text = [](std::int64_t length, std::int64_t from) { return at::arange(from, from + length).unsqueeze(0).expand({3, length}); };
  // In float, as the reference computes it: in double a product that is whole there may lie just below.
  const float interval = static_cast<float>(config.vision.tokens_per_second) * static_cast<float>(second_per_grid);
  const at::Tensor times = (at::arange(grid.t).to(at::kFloat) * static_cast<double>(interval)).to(at::kLong);
  const auto over_grid = [&](const at::Tensor& places) { return places.expand({grid.t, rows, columns}).flatten() + before; };
  const at::Tensor video =
      at::stack({over_grid(times.view({-1, 1, 1})), over_grid(at::arange(rows).view({1, -1, 1})), over_grid(at::arange(columns).view({1, 1, -1}))});
  return at::cat({text(before, 0), video, text(after, before + std::max(grid.h, grid.w) / merge)}, 1);
}

}  // namespace magicid::models::qwen2_5_vl
