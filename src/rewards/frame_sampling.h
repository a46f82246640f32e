// Which frames of a video a reward looks at.
#pragma once

#include <cstdint>
#include <vector>

namespace magicid::rewards {

// `count` indices from 0 to frames - 1, evenly spaced, rounded down, as numpy.linspace(0, frames - 1, count, dtype=int); all of them when there are no more
// than `count`, or `count` is 0. frames >= 1.
std::vector<std::int64_t> evenly_spaced_frames(std::int64_t frames, std::int64_t count);

// Every max(1, round(fps / rate))-th frame from the first on (half to even, as Python rounds); VBench's rule with rate 8.
std::vector<std::int64_t> frames_for_flow(std::int64_t frames, double fps, double rate);

}  // namespace magicid::rewards
