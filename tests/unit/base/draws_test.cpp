#include "base/draws.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace magicid::base {
namespace {

TEST(Draws, EveryItemOnceInEachRound) {
  for (int round = 0; round < 3; ++round) {
    std::set<std::int64_t> seen;
    for (int i = 0; i < 7; ++i) seen.insert(draw_item(5, "x", round * 7 + i, 7));
    EXPECT_EQ(seen.size(), 7u);
  }
  EXPECT_EQ(draw_item(5, "x", 9, 7), draw_item(5, "x", 9, 7));
}

TEST(Draws, KindsKeepTheirShareAtEveryMoment) {
  for (double share : {0.0, 0.25, 0.5, 0.8, 1.0}) {
    std::int64_t second = 0;
    for (std::int64_t n = 0; n < 200; ++n) {
      const auto kind = draw_kind(n, share);
      EXPECT_EQ(kind.draw, kind.second ? second : n - second);
      second += kind.second;
      EXPECT_LE(std::abs(static_cast<double>(second) - share * static_cast<double>(n + 1)), 1.0) << share << " after " << n;
    }
  }
}

}  // namespace
}  // namespace magicid::base
