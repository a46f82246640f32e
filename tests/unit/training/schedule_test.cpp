#include "training/schedule.h"

#include <gtest/gtest.h>

#include <set>

namespace magicid::training {
namespace {

TEST(Schedule, StepsShowAllSamples) {
  EXPECT_EQ(steps_for(5000, 8), 625);
  EXPECT_EQ(steps_for(5001, 8), 626);
  EXPECT_EQ(steps_for(1, 8), 1);
}

TEST(Schedule, EverySlotBelongsToOneReplica) {
  for (std::int64_t replicas = 1; replicas <= 5; ++replicas)
    for (std::int64_t batch = 1; batch <= 9; ++batch) {
      std::set<std::int64_t> seen;
      for (std::int64_t replica = 0; replica < replicas; ++replica) {
        const auto slots = slots_of(replica, replicas, batch);
        EXPECT_LE(slots.size(), slots_of(0, replicas, batch).size());
        EXPECT_GE(static_cast<std::int64_t>(slots.size()), batch / replicas);
        for (const auto slot : slots) EXPECT_TRUE(seen.insert(slot).second);
      }
      EXPECT_EQ(static_cast<std::int64_t>(seen.size()), batch);
      EXPECT_EQ(*seen.rbegin(), batch - 1);
    }
}

TEST(Previews, AreDueAtTheBeginningEverySoOftenAndAtTheEnd) {
  std::vector<std::int64_t> due;
  for (std::int64_t step = 0; step <= 11; ++step)
    if (preview_is_due(step, 4, 11)) due.push_back(step);
  EXPECT_EQ(due, (std::vector<std::int64_t>{0, 4, 8, 11}));
  EXPECT_EQ(previews_due(4, 11), 4);
  EXPECT_EQ(previews_due(4, 12), 4);
  for (std::int64_t step = 0; step <= 11; ++step) EXPECT_FALSE(preview_is_due(step, 0, 11));
  EXPECT_EQ(previews_due(0, 11), 0);
}

}  // namespace
}  // namespace magicid::training
