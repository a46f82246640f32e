#include "models/hunyuan_video/latent_shape.h"

#include <algorithm>

#include "base/errors.h"

namespace magicid::models::hunyuan_video {
namespace {

// `pixels` over the autoencoder's ratio, where the transformer's patch divides that too.
std::int64_t latent_side(const char* what, std::int64_t pixels, std::int64_t ratio, std::int64_t multiple) {
  if (pixels <= 0 || pixels % multiple != 0)
    throw base::UserError(what, " is ", pixels, ", a multiple of ", multiple, " is needed, e.g. ",
                          std::max(multiple, (pixels + multiple / 2) / multiple * multiple));
  return pixels / ratio;
}

}  // namespace

std::vector<std::int64_t> latent_shape(const generator::VideoSize& size, const TransformerConfig& transformer, const AutoencoderConfig& autoencoder) {
  const std::int64_t ratio = autoencoder.spatial_compression_ratio, temporal = autoencoder.temporal_compression_ratio,
                     multiple = ratio * transformer.patch_size;
  const std::int64_t rows = latent_side("height", size.height, ratio, multiple), columns = latent_side("width", size.width, ratio, multiple);
  if (size.frames < 1 || (size.frames - 1) % temporal != 0)
    throw base::UserError("frames is ", size.frames, ", ", temporal, "k+1 is needed, e.g. ",
                          std::max<std::int64_t>(0, (size.frames - 1) / temporal) * temporal + 1);
  const std::int64_t frames = autoencoder.latent_frames(size.frames);
  if (frames % transformer.patch_size_t != 0)
    throw base::UserError("frames is ", size.frames, ", which gives ", frames,
                          " latent frames, and those must be a multiple of the transformer's patch_size_t, ", transformer.patch_size_t);
  return {1, transformer.in_channels, frames, rows, columns};
}

}  // namespace magicid::models::hunyuan_video
