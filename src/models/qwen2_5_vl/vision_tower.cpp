#include "models/qwen2_5_vl/vision_tower.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>

#include "base/errors.h"
#include "models/text/decoder_layer.h"

namespace magicid::models::qwen2_5_vl {
namespace {

// Of the tower's norms; no key of config.json.
constexpr double norm_eps = 1e-6;

// Row and column of each patch of one frame in the processor's order, int64 [h * w] each.
std::pair<at::Tensor, at::Tensor> patch_places(const VideoGrid& grid, std::int64_t merge) {
  const auto by_block = [&](const at::Tensor& places) {  // [h,w] -> blocks of merge x merge
    return places.expand({grid.h, grid.w}).reshape({grid.h / merge, merge, grid.w / merge, merge}).transpose(1, 2).flatten();
  };
  return {by_block(at::arange(grid.h).unsqueeze(1)), by_block(at::arange(grid.w).unsqueeze(0))};
}

// Angles [N, K] by which each patch's heads turn: half of the pairs by its row, half by its column.
at::Tensor rotary_angles(const VisionTowerConfig& c, const VideoGrid& grid) {
  const std::int64_t half = c.hidden_size / c.num_heads / 2;
  const at::Tensor exponents = at::arange(0, half, 2, at::TensorOptions(at::kFloat)) / static_cast<double>(half);
  const at::Tensor frequencies = at::pow(c.rope_theta, exponents).reciprocal();  // [K/4]
  const auto [rows, columns] = patch_places(grid, c.spatial_merge_size);
  const at::Tensor pairs = at::cat({rows.to(at::kFloat).unsqueeze(1) * frequencies, columns.to(at::kFloat).unsqueeze(1) * frequencies}, 1);
  return at::cat({pairs, pairs}, 1).repeat({grid.t, 1});
}

}  // namespace

AttentionSets frame_sets(const VideoGrid& grid) { return {at::arange(grid.patches()).view({grid.t, grid.h * grid.w})}; }

AttentionSets window_sets(const VideoGrid& grid, std::int64_t merge, std::int64_t window) {
  const std::int64_t rows = grid.h / merge, columns = grid.w / merge, unit = merge * merge;
  std::map<std::int64_t, std::vector<std::int64_t>> by_size;  // patches of a window -> the patches of all such windows
  for (std::int64_t t = 0; t < grid.t; ++t)
    for (std::int64_t top = 0; top < rows; top += window)
      for (std::int64_t left = 0; left < columns; left += window) {
        const std::int64_t bottom = std::min(rows, top + window), right = std::min(columns, left + window);
        auto& patches = by_size[(bottom - top) * (right - left) * unit];
        for (std::int64_t row = top; row < bottom; ++row)
          for (std::int64_t column = left; column < right; ++column)
            for (std::int64_t i = 0; i < unit; ++i) patches.push_back(((t * rows + row) * columns + column) * unit + i);
      }
  AttentionSets sets;
  for (const auto& [size, patches] : by_size) sets.push_back(at::tensor(patches, at::kLong).view({-1, size}));
  return sets;
}

VisionTower VisionTower::load(const VisionTowerConfig& c, const nn::Weights& weights) {
  VisionTower tower;
  tower.config_ = c;
  tower.placement_ = weights.placement();
  const std::int64_t d = c.hidden_size, merged = d * c.spatial_merge_size * c.spatial_merge_size;
  tower.patch_projection_ =
      weights.take("patch_embed.proj.weight", {d, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size}).reshape({d, c.patch_values()});
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const nn::Weights w = weights.sub("blocks." + std::to_string(i) + ".");
    Block block;
    block.norm1 = w.take("norm1.weight", {d});
    block.norm2 = w.take("norm2.weight", {d});
    block.qkv = nn::Linear::load(w, "attn.qkv", 3 * d, d);
    block.projection = nn::Linear::load(w, "attn.proj", d, d);
    block.gate = nn::Linear::load(w, "mlp.gate_proj", c.intermediate_size, d);
    block.up = nn::Linear::load(w, "mlp.up_proj", c.intermediate_size, d);
    block.down = nn::Linear::load(w, "mlp.down_proj", d, c.intermediate_size);
    tower.blocks_.push_back(std::move(block));
  }
  tower.merger_norm_ = weights.take("merger.ln_q.weight", {d});
  tower.merger_in_ = nn::Linear::load(weights, "merger.mlp.0", merged, merged);
  tower.merger_out_ = nn::Linear::load(weights, "merger.mlp.2", c.out_hidden_size, merged);
  return tower;
}

at::Tensor VisionTower::attend(const Block& block, const at::Tensor& x, const AttentionSets& sets, const at::Tensor& cos, const at::Tensor& sin) const {
  const std::int64_t patches = x.size(0), heads = config_.num_heads, head_dim = config_.hidden_size / heads;
  const at::Tensor qkv = block.qkv(x).view({patches, 3, heads, head_dim});
  const auto turned = [&](std::int64_t part) { return text::rotate_halves(qkv.select(1, part).to(at::kFloat), cos, sin).to(x.scalar_type()); };
  const at::Tensor q = turned(0), k = turned(1), v = qkv.select(1, 2);
  std::vector<at::Tensor> outputs, order;
  for (const at::Tensor& set : sets) {
    const at::Tensor flat = set.flatten();
    const auto gathered = [&](const at::Tensor& y) { return y.index_select(0, flat).view({set.size(0), set.size(1), heads, head_dim}).transpose(1, 2); };
    outputs.push_back(at::scaled_dot_product_attention(gathered(q), gathered(k), gathered(v)).transpose(1, 2).reshape({flat.size(0), heads * head_dim}));
    order.push_back(flat);
  }
  return block.projection(at::cat(outputs).index_select(0, at::argsort(at::cat(order))));
}

at::Tensor VisionTower::operator()(const at::Tensor& patches, const VideoGrid& grid) const {
  const VisionTowerConfig& c = config_;
  const std::int64_t merge = c.spatial_merge_size, unit = merge * merge;
  base::check_invariant(patches.dim() == 2 && patches.size(0) == grid.patches() && patches.size(1) == c.patch_values() && grid.h % merge == 0 &&
                            grid.w % merge == 0 && grid.patches() > 0,
                        "the vision tower got patches ", patches.sizes(), " for a grid of ", grid.t, " x ", grid.h, " x ", grid.w);
  const auto on_device = [&](AttentionSets sets) {
    for (at::Tensor& set : sets) set = set.to(placement_.device);
    return sets;
  };
  const AttentionSets windows = on_device(window_sets(grid, merge, c.window())), frames = on_device(frame_sets(grid));
  const at::Tensor angles = rotary_angles(c, grid).to(placement_.device).unsqueeze(1);  // [N,1,K]
  const at::Tensor cos = at::cos(angles), sin = at::sin(angles);
  at::Tensor x = at::linear(patches.to(placement_.device, placement_.dtype), patch_projection_);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const bool whole = std::find(c.fullatt_block_indexes.begin(), c.fullatt_block_indexes.end(), static_cast<std::int64_t>(i)) != c.fullatt_block_indexes.end();
    x = x + attend(block, text::rms_norm(x, block.norm1, norm_eps), whole ? frames : windows, cos, sin);
    const at::Tensor normed = text::rms_norm(x, block.norm2, norm_eps);
    x = x + block.down(text::activate(block.gate(normed), c.hidden_act) * block.up(normed));
  }
  const at::Tensor merged = text::rms_norm(x, merger_norm_, norm_eps).reshape({grid.patches() / unit, unit * c.hidden_size});
  return merger_out_(at::gelu(merger_in_(merged)));
}

}  // namespace magicid::models::qwen2_5_vl
