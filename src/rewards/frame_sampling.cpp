#include "rewards/frame_sampling.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace magicid::rewards {

std::vector<std::int64_t> evenly_spaced_frames(std::int64_t frames, std::int64_t count) {
  base::check_invariant(frames >= 1 && count >= 0, "evenly_spaced_frames(", frames, ", ", count, ")");
  std::vector<std::int64_t> indices;
  if (count == 0 || frames <= count) {
    for (std::int64_t i = 0; i < frames; ++i) indices.push_back(i);
    return indices;
  }
  if (count == 1) return {0};
  const double step = static_cast<double>(frames - 1) / static_cast<double>(count - 1);
  for (std::int64_t i = 0; i + 1 < count; ++i) indices.push_back(static_cast<std::int64_t>(std::floor(static_cast<double>(i) * step)));
  indices.push_back(frames - 1);
  return indices;
}

std::vector<std::int64_t> frames_for_flow(std::int64_t frames, double fps, double rate) {
  base::check_invariant(frames >= 1 && fps > 0 && rate > 0, "frames_for_flow(", frames, ", ", fps, ", ", rate, ")");
  const auto step = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::nearbyint(fps / rate)));
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < frames; i += step) indices.push_back(i);
  return indices;
}

}  // namespace magicid::rewards
