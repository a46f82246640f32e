// Tokens of a sequence, and the slice of them that each of the ranks sharing it holds.
#pragma once

#include <cstdint>

namespace magicid::models::generator {

// Tokens [begin, begin + count) of a sequence.
struct TokenRange {
  std::int64_t begin = 0, count = 0;
};

// Tokens of a sequence by what they stand for.
struct TokenCounts {
  std::int64_t video = 0, text = 0;
  std::int64_t all() const { return video + text; }
};

// The `part`-th of `parts` slices of [0, total): contiguous, in order, their sizes differ by one at most; some are empty when total < parts. Ranks that share
// a sequence slice its video tokens, its text tokens and the heads of its attention so.
TokenRange slice_of(std::int64_t total, int part, int parts);

}  // namespace magicid::models::generator
