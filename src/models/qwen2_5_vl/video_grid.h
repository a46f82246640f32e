// The patches of a video: t x h x w of them, each of temporal_patch_size frames and patch_size x patch_size pixels.
#pragma once

#include <cstdint>

namespace magicid::models::qwen2_5_vl {

struct VideoGrid {
  std::int64_t t = 0, h = 0, w = 0;

  std::int64_t patches() const { return t * h * w; }
};

}  // namespace magicid::models::qwen2_5_vl
