// Running a network over overlapping tiles of a video and blending the results. Tensors are [B,C,T,H,W].
//
// Sizes count input elements (`tile`, `stride`) and output elements (`kept`, `blend`): one tile of input gives an output of which `kept`
// elements stay, after its first `blend` elements were blended linearly with the end of the tile before.
// Reference: blend_*, tiled_* and _temporal_tiled_* in diffusers' autoencoder_kl_hunyuan_video.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace magicid::models::hunyuan_video {

// Dimensions of such tensors.
inline constexpr std::int64_t kChannels = 1, kFrames = 2, kHeight = 3, kWidth = 4;

struct TileAxis {
  std::int64_t tile, stride;  // of the input
  std::int64_t kept, blend;   // of the output
};

// Frames [first, first + count) of a tile's input.
struct FrameRange {
  std::int64_t first = 0, count = 0;
  bool operator==(const FrameRange&) const = default;
};

using TileFunction = std::function<at::Tensor(const at::Tensor&)>;

// `tile` whose first `extent` elements along `dim` go over from the last ones of `before` (weight 0 at the first) to its own. Extents
// beyond either tensor are cut. Returns a new tensor or `tile` itself.
at::Tensor blend(const at::Tensor& before, const at::Tensor& tile, std::int64_t extent, std::int64_t dim);

// Tiles over height and width; the result is cut to out_height x out_width.
at::Tensor run_spatial_tiles(const at::Tensor& x, const TileAxis& height, const TileAxis& width, std::int64_t out_height, std::int64_t out_width,
                             const TileFunction& run);

// The tiles of so many frames: each takes one frame more than `axis.tile`. A last one of a single frame is left out: it has only the past, and nothing new
// would come out.
std::vector<FrameRange> temporal_tiles(std::int64_t frames, const TileAxis& axis);

// Those tiles one after another. Later ones drop their first output frame, which only gives the causal convolutions their past. The result is cut to
// out_frames.
at::Tensor run_temporal_tiles(const at::Tensor& x, const TileAxis& axis, std::int64_t out_frames, const TileFunction& run);

}  // namespace magicid::models::hunyuan_video
