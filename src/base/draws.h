// Which item a training sample shows: functions of (seed, sample number) alone.
#pragma once

#include <cstdint>

namespace magicid::base {

// Item 0..count-1 of the `draw`-th draw: every item once, in a new random order for each round.
std::int64_t draw_item(std::uint64_t seed, const char* purpose, std::int64_t draw, std::int64_t count);

// Splits draws 0, 1, 2, ... between two kinds so that after any n draws the second kind had share * n of them to within one.
struct KindDraw {
  bool second = false;
  std::int64_t draw = 0;  // how many draws of that kind came before
};
KindDraw draw_kind(std::int64_t draw, double share);

}  // namespace magicid::base
