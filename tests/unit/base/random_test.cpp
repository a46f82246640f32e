#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace magicid::base {
namespace {

TEST(CounterRandom, AnySliceIsTheSameNumbers) {
  const CounterRandom random(7, "noise");
  std::vector<float> whole(1001), slice(313);
  random.normal(whole, 3);
  random.normal(slice, 3, 129);
  EXPECT_TRUE(std::equal(slice.begin(), slice.end(), whole.begin() + 129));
}

TEST(CounterRandom, SeedPurposeStepAndIndexAllMatter) {
  const double base = CounterRandom(7, "noise").uniform(3, 5);
  EXPECT_EQ(base, CounterRandom(7, "noise").uniform(3, 5));
  EXPECT_NE(base, CounterRandom(8, "noise").uniform(3, 5));
  EXPECT_NE(base, CounterRandom(7, "sigma").uniform(3, 5));
  EXPECT_NE(base, CounterRandom(7, "noise").uniform(4, 5));
  EXPECT_NE(base, CounterRandom(7, "noise").uniform(3, 6));
}

TEST(CounterRandom, MomentsAreThoseOfTheDistributions) {
  const CounterRandom random(1, "moments");
  const int n = 200'000;
  std::vector<float> normal(n);
  random.normal(normal, 0);
  double mean = 0, square = 0, fourth = 0, uniform = 0;
  for (int i = 0; i < n; ++i) {
    mean += normal[i], square += std::pow(normal[i], 2), fourth += std::pow(normal[i], 4);
    uniform += random.uniform(1, i);
  }
  EXPECT_NEAR(mean / n, 0, 0.01);
  EXPECT_NEAR(square / n, 1, 0.02);
  EXPECT_NEAR(fourth / n, 3, 0.1);
  EXPECT_NEAR(uniform / n, 0.5, 0.005);
}

TEST(CounterRandom, PermutationHoldsEveryIndexOnce) {
  const auto order = CounterRandom(3, "order").permutation(50, 2);
  EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 50u);
  EXPECT_EQ(*std::min_element(order.begin(), order.end()), 0);
  EXPECT_NE(order, CounterRandom(3, "order").permutation(50, 3));
  EXPECT_TRUE(CounterRandom(3, "order").permutation(0, 2).empty());
}

}  // namespace
}  // namespace magicid::base
