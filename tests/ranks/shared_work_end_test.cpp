// How jobs end whose ranks share out work, in groups of two.
#include "ranks/child_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <string>

namespace {

using magicid::testing::job;
using ::testing::HasSubstr;

class ARankFailsBetweenTwoCollectives : public ::testing::TestWithParam<const char*> {};
// Its group waits for it in a collective, and the other group for both: nothing but the end of the job helps, and that at once. Rank 0 leads its group and
// serves the queue.
TEST_P(ARankFailsBetweenTwoCollectives, TheJobEndsAtOnceWithItsErrorAndCode) {
  const auto ended = job(4, GetParam());
  EXPECT_EQ(ended.code, 3) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("this rank's memory is full"));
  EXPECT_THAT(ended.text, HasSubstr("failed alone"));
  EXPECT_THAT(ended.text, ::testing::Not(HasSubstr("took"))) << "a progress line that reads like success";
  EXPECT_LT(ended.seconds, 20);
}
INSTANTIATE_TEST_SUITE_P(Where, ARankFailsBetweenTwoCollectives,
                         ::testing::Values("shared-fails 0 first", "shared-fails 0 last", "shared-fails 1 middle", "shared-fails 2 last",
                                           "preview-fails 0 middle"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

TEST(SlowWork, IsWaitedForWhileItGivesSignsOfLife) {
  const auto ended = job(2, "slow-piece 5 0.2", "-x MAGICID_COLLECTIVE_TIMEOUT=2");
  EXPECT_EQ(ended.code, 0) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("the slow piece is made"));
}

TEST(SlowWork, ThatGivesNoSignOfLifeEndsTheJob) {
  const auto ended = job(2, "slow-piece 50 50", "-x MAGICID_COLLECTIVE_TIMEOUT=2");
  EXPECT_EQ(ended.code, 4) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("slow videos: rank "));
  EXPECT_THAT(ended.text, HasSubstr("has given no sign of life for more than the limit of 2 s"));
  EXPECT_LT(ended.seconds, 20);
}

}  // namespace
