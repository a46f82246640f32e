#include "models/hunyuan_video/autoencoder_tiling.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace magicid::models::hunyuan_video {
namespace {

at::Tensor first_of(const at::Tensor& x, std::int64_t dim, std::int64_t count) { return x.narrow(dim, 0, std::min(count, x.size(dim))); }

at::Tensor tile_of(const at::Tensor& x, std::int64_t dim, std::int64_t first, std::int64_t count) {
  return x.narrow(dim, first, std::min(count, x.size(dim) - first));
}

}  // namespace

at::Tensor blend(const at::Tensor& before, const at::Tensor& tile, std::int64_t extent, std::int64_t dim) {
  extent = std::min({extent, before.size(dim), tile.size(dim)});
  if (extent <= 0) return tile;
  // Half precision is blended in fp32 and rounded once.
  const at::ScalarType dtype = tile.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor own = at::empty({extent}, at::kDouble);
  for (std::int64_t i = 0; i < extent; ++i) own.data_ptr<double>()[i] = static_cast<double>(i) / static_cast<double>(extent);
  std::vector<std::int64_t> shape(static_cast<std::size_t>(tile.dim()), 1);
  shape[static_cast<std::size_t>(dim)] = extent;
  own = own.view(shape);
  const at::Tensor earlier = own.neg().add(1).to(tile.device(), dtype);
  own = own.to(tile.device(), dtype);
  const at::Tensor mixed = before.narrow(dim, before.size(dim) - extent, extent).mul(earlier).add(tile.narrow(dim, 0, extent).mul(own));
  return at::cat({mixed.to(tile.scalar_type()), tile.narrow(dim, extent, tile.size(dim) - extent)}, dim);
}

at::Tensor run_spatial_tiles(const at::Tensor& x, const TileAxis& height, const TileAxis& width, std::int64_t out_height, std::int64_t out_width,
                             const TileFunction& run) {
  std::vector<at::Tensor> rows, above, current;
  for (std::int64_t i = 0; i < x.size(kHeight); i += height.stride) {
    current.clear();
    std::vector<at::Tensor> kept;
    for (std::int64_t j = 0; j < x.size(kWidth); j += width.stride) {
      at::Tensor tile = run(tile_of(tile_of(x, kHeight, i, height.tile), kWidth, j, width.tile));
      if (i > 0) tile = blend(above[current.size()], tile, height.blend, kHeight);
      if (j > 0) tile = blend(current.back(), tile, width.blend, kWidth);
      current.push_back(tile);
      kept.push_back(first_of(first_of(tile, kHeight, height.kept), kWidth, width.kept));
    }
    rows.push_back(at::cat(kept, kWidth));
    above.swap(current);
  }
  return first_of(first_of(at::cat(rows, kHeight), kHeight, out_height), kWidth, out_width);
}

std::vector<FrameRange> temporal_tiles(std::int64_t frames, const TileAxis& axis) {
  std::vector<FrameRange> tiles;
  for (std::int64_t first = 0; first < frames; first += axis.stride) {
    const std::int64_t count = std::min(axis.tile + 1, frames - first);
    if (first > 0 && count == 1) break;
    tiles.push_back({first, count});
  }
  return tiles;
}

at::Tensor run_temporal_tiles(const at::Tensor& x, const TileAxis& axis, std::int64_t out_frames, const TileFunction& run) {
  std::vector<at::Tensor> kept;
  at::Tensor before;
  for (const FrameRange& tile : temporal_tiles(x.size(kFrames), axis)) {
    const at::Tensor input = x.narrow(kFrames, tile.first, tile.count);
    if (tile.first == 0) {
      before = run(input);
      kept.push_back(first_of(before, kFrames, axis.kept + 1));
      continue;
    }
    const at::Tensor output = run(input);
    before = blend(before, output.narrow(kFrames, 1, output.size(kFrames) - 1), axis.blend, kFrames);
    kept.push_back(first_of(before, kFrames, axis.kept));
  }
  return first_of(at::cat(kept, kFrames), kFrames, out_frames);
}

}  // namespace magicid::models::hunyuan_video
