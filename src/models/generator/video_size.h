// The size of a video, as users give it and as every backbone takes it.
#pragma once

#include <cstdint>

namespace magicid::models::generator {

struct VideoSize {
  std::int64_t height = 0, width = 0, frames = 0;  // pixels, pixels, frames
  bool operator==(const VideoSize&) const = default;
};

}  // namespace magicid::models::generator
