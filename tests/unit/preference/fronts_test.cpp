#include "preference/fronts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/random.h"

namespace magicid::preference {
namespace {

std::vector<std::vector<double>> random_points(int n, int objectives, int levels, int seed) {
  const base::CounterRandom random(seed, "points");
  std::vector<std::vector<double>> points(n, std::vector<double>(objectives));
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < objectives; ++k) points[i][k] = static_cast<double>(random.below(levels, i, k));
  return points;
}

// Peeling by the definition: remove the non-dominated, repeat.
std::vector<int> peel(const std::vector<std::vector<double>>& points) {
  std::vector<int> front(points.size(), -1);
  for (int level = 0;; ++level) {
    std::vector<std::size_t> now;
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (front[i] != -1) continue;
      bool free = true;
      for (std::size_t j = 0; j < points.size(); ++j) free &= front[j] != -1 || !dominates(points[j], points[i]);
      if (free) now.push_back(i);
    }
    if (now.empty()) return front;
    for (auto i : now) front[i] = level;
  }
}

TEST(Fronts, AgreeWithPeelingTiesIncluded) {
  for (int seed = 0; seed < 40; ++seed) {
    const auto points = random_points(1 + seed * 3, 1 + seed % 3, seed % 2 ? 4 : 1000, seed);
    EXPECT_EQ(non_dominated_fronts(points), peel(points)) << "seed " << seed;
  }
}

TEST(Fronts, DoNotDependOnMonotoneRescaling) {
  const auto points = random_points(60, 3, 50, 9);
  auto scaled = points;
  for (auto& p : scaled) p = {std::exp(p[0] / 10), p[1] * 1e-3 - 4, std::cbrt(p[2])};
  EXPECT_EQ(non_dominated_fronts(points), non_dominated_fronts(scaled));
}

TEST(Fronts, DegenerateInputs) {
  EXPECT_TRUE(non_dominated_fronts({}).empty());
  EXPECT_EQ(non_dominated_fronts({{1, 2}, {1, 2}, {1, 2}}), (std::vector<int>{0, 0, 0}));
  EXPECT_THROW(non_dominated_fronts({{1, std::numeric_limits<double>::quiet_NaN()}}), base::InvariantError);
  EXPECT_THROW(non_dominated_fronts({{1, 2}, {1}}), base::InvariantError);
}

}  // namespace
}  // namespace magicid::preference
