#include "preference/pair_order.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/errors.h"

namespace magicid::preference {
namespace {

TEST(PairOrder, EveryPairOfAKindOnceARound) {
  const PairOrder order(3, 5, 0.75, 42);
  std::map<PairKind, std::map<std::int64_t, std::set<std::int64_t>>> shown;
  std::int64_t dynamic = 0;
  for (std::int64_t sample = 0; sample < 80; ++sample) {
    const ShownPair pair = order.at(sample);
    dynamic += pair.kind == PairKind::dynamic;
    EXPECT_TRUE(shown[pair.kind][pair.round].insert(pair.index).second) << "twice in a round";
  }
  EXPECT_EQ(dynamic, 60);
  EXPECT_EQ(shown[PairKind::dynamic].size(), 12u);
  for (const auto& [round, indices] : shown[PairKind::dynamic]) EXPECT_EQ(indices, (std::set<std::int64_t>{0, 1, 2, 3, 4})) << round;
  for (std::int64_t round = 0; round < 6; ++round) EXPECT_EQ(shown[PairKind::identity][round], (std::set<std::int64_t>{0, 1, 2})) << round;
}

TEST(PairOrder, NumbersArePairsOfBothKindsOnce) {
  const PairOrder order(3, 5, 0.5, 1);
  std::set<std::int64_t> numbers;
  for (std::int64_t sample = 0; sample < 10; ++sample) numbers.insert(order.number_of(order.at(sample)));
  EXPECT_EQ(numbers, (std::set<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(PairOrder, AKindThatIsMissingLeavesAllSamplesToTheOther) {
  for (std::int64_t sample = 0; sample < 6; ++sample) {
    EXPECT_EQ(PairOrder(2, 0, 0.85, 1).at(sample).kind, PairKind::identity);
    EXPECT_EQ(PairOrder(0, 2, 0.15, 1).at(sample).kind, PairKind::dynamic);
  }
  EXPECT_THROW(PairOrder(0, 0, 0.5, 1), base::InvariantError);
}

TEST(PairOrder, DrawsOfNoiseComeInTurn) {
  EXPECT_EQ(noise_draw_of(0, 4), 0);
  EXPECT_EQ(noise_draw_of(3, 4), 3);
  EXPECT_EQ(noise_draw_of(4, 4), 0);
}

}  // namespace
}  // namespace magicid::preference
