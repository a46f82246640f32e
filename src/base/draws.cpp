#include "base/draws.h"

#include <cmath>

#include "base/random.h"

namespace magicid::base {

std::int64_t draw_item(std::uint64_t seed, const char* purpose, std::int64_t draw, std::int64_t count) {
  return CounterRandom(seed, purpose).permutation(count, static_cast<std::uint64_t>(draw / count))[static_cast<std::size_t>(draw % count)];
}

KindDraw draw_kind(std::int64_t draw, double share) {
  // The half keeps an even split alternating from the first draw on.
  const auto before = static_cast<std::int64_t>(std::floor(static_cast<double>(draw) * share + 0.5));
  const auto after = static_cast<std::int64_t>(std::floor(static_cast<double>(draw + 1) * share + 0.5));
  const bool second = after > before;
  return {second, second ? before : draw - before};
}

}  // namespace magicid::base
