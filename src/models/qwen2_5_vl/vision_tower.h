// Qwen2.5-VL's vision tower: patches of a video to tokens of the language model.
// N: patches, in the order of the video processor (frames, then blocks of merge x merge patches, then the patches of a block), D: width, H: heads, K: head
// size. Source: transformers' models/qwen2_5_vl/modeling_qwen2_5_vl.py (5.24); Bai et al. 2025 (arXiv:2502.13923).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "models/qwen2_5_vl/config.h"
#include "models/qwen2_5_vl/video_grid.h"

namespace magicid::models::qwen2_5_vl {

// Which patches attend to each other: sets of equal size, one tensor [sets, patches of a set] int64 of patch numbers for each size. Every patch is in one set.
using AttentionSets = std::vector<at::Tensor>;
// Sets are the frames (pairs of frames) of the video.
AttentionSets frame_sets(const VideoGrid& grid);
// Sets are windows of `window` x `window` merged tokens in each frame, cut off at the right and lower edge. The reference sorts patches by window first and
// back again in the end; here each patch keeps its place.
AttentionSets window_sets(const VideoGrid& grid, std::int64_t merge, std::int64_t window);

class VisionTower {
 public:
  // Takes patch_embed, blocks and merger.
  static VisionTower load(const VisionTowerConfig& config, const nn::Weights& weights);

  // patches [N, patch_values] as the video processor makes them -> [N / merge^2, out_hidden_size] in the placement's dtype.
  at::Tensor operator()(const at::Tensor& patches, const VideoGrid& grid) const;

 private:
  struct Block {
    nn::Linear qkv, projection, gate, up, down;
    at::Tensor norm1, norm2;  // [D]
  };
  at::Tensor attend(const Block& block, const at::Tensor& x, const AttentionSets& sets, const at::Tensor& cos, const at::Tensor& sin) const;

  VisionTowerConfig config_;
  nn::Placement placement_;
  at::Tensor patch_projection_;  // [D, patch_values]
  std::vector<Block> blocks_;
  at::Tensor merger_norm_;  // [D]
  nn::Linear merger_in_, merger_out_;
};

}  // namespace magicid::models::qwen2_5_vl
