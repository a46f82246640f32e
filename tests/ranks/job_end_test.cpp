// How jobs end: exit codes and messages of child jobs under mpirun.
#include "ranks/child_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace {

using ::testing::HasSubstr;

using magicid::testing::job;
using magicid::testing::occurrences;
using magicid::testing::shell;

TEST(JobEnd, OneProcessIsLocalWithoutMpi) {
  const auto alone = shell(std::string(MAGICID_RANK_SCENARIOS) + " local");
  EXPECT_EQ(alone.code, 0) << alone.text;
  EXPECT_THAT(alone.text, HasSubstr("backend local, 1 ranks"));
}

TEST(JobEnd, SuccessIsZero) {
  const auto ended = job(2, "well");
  EXPECT_EQ(ended.code, 0) << ended.text;
}

TEST(JobEnd, ARankThatDiesAloneEndsTheJobWithItsCode) {
  const auto waiting = job(3, "dies-alone");
  EXPECT_EQ(waiting.code, 3) << waiting.text;
  EXPECT_THAT(waiting.text, HasSubstr("only this rank fails"));
  EXPECT_THAT(waiting.text, HasSubstr("rank 2 of 3"));
  const auto computing = job(2, "dies-while-others-compute");
  EXPECT_EQ(computing.code, 2) << computing.text;
  EXPECT_LT(computing.seconds, 50);
}

TEST(JobEnd, AnAgreedErrorIsSaidOnceAndKeepsItsCode) {
  const auto ended = job(3, "agreed");
  EXPECT_EQ(ended.code, 2) << ended.text;
  EXPECT_EQ(occurrences(ended.text, "load failed on 1 of 3 ranks"), 1) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("rank 2 (node "));
  EXPECT_THAT(ended.text, ::testing::Not(HasSubstr("failed alone"))) << ended.text;
}

TEST(JobEnd, AnAgreedEndWaitsForARankThatStillCloses) {
  const auto ended = job(2, "agreed-late");
  EXPECT_EQ(ended.code, 75) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("rank 0 closed its files"));
}

TEST(JobEnd, TheSameErrorOnAllRanksIsSaidOnce) {
  const auto ended = job(3, "same-error");
  EXPECT_EQ(ended.code, 2) << ended.text;
  EXPECT_EQ(occurrences(ended.text, "unknown key \"betta\""), 1) << ended.text;
}

TEST(JobEnd, AFailureAfterTheOthersFinishedEndsInOrder) {
  const auto ended = job(2, "fails-after-the-others");
  EXPECT_EQ(ended.code, 3) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("report could not be written"));
}

TEST(JobEnd, TheWatchdogNamesRankNodeAndOperation) {
  const auto ended = job(2, "never-arrives", "-x MAGICID_COLLECTIVE_TIMEOUT=2");
  EXPECT_EQ(ended.code, 4) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("rank 0 of 2"));
  EXPECT_THAT(ended.text, HasSubstr("node "));
  EXPECT_THAT(ended.text, HasSubstr("all_reduce of 4000 bytes over mpi"));
  EXPECT_LT(ended.seconds, 40);
}

TEST(JobEnd, AKilledRankEndsTheJob) {
  const auto ended = job(2, "killed");
  EXPECT_NE(ended.code, 0) << ended.text;
  EXPECT_LT(ended.seconds, 40);
}

TEST(JobEnd, AnExceptionThatNothingCatchesEndsTheJobWithItsCode) {
  for (const auto& ended : {shell(std::string(MAGICID_RANK_SCENARIOS) + " thrown-on-a-thread"), job(2, "thrown-on-a-thread")}) {
    EXPECT_EQ(ended.code, 3) << ended.text;
    EXPECT_THAT(ended.text, HasSubstr("the host's memory ran out"));
    EXPECT_LT(ended.seconds, 40);
  }
}

TEST(JobEnd, AStopRequestOutsideOfALoopEndsInOrder) {
  const auto ended = job(3, "stopped-while-it-loads");
  EXPECT_EQ(ended.code, 75) << ended.text;
  EXPECT_EQ(occurrences(ended.text, "loading the network: stopped on request"), 1) << ended.text;
  EXPECT_THAT(ended.text, ::testing::Not(HasSubstr("failed"))) << ended.text;
}

TEST(JobEnd, AFailureInAGroupNamesTheJobsRank) {
  const auto ended = job(4, "group");
  EXPECT_EQ(ended.code, 3) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("keep failed on 1 of the 2 ranks of a group (of 4 in the job)"));
  EXPECT_THAT(ended.text, HasSubstr("rank 3 (node "));
}

TEST(JobEnd, AWrongTimeoutIsAUserError) {
  const auto ended = shell("env MAGICID_COLLECTIVE_TIMEOUT=soon " + std::string(MAGICID_RANK_SCENARIOS) + " local");
  EXPECT_EQ(ended.code, 2) << ended.text;
  EXPECT_THAT(ended.text, HasSubstr("MAGICID_COLLECTIVE_TIMEOUT"));
}

TEST(JobEnd, TheQueueAnswersWhileRank0ComputesOverTcp) {
  const auto ended = job(3, "queue", "--mca btl tcp,self");
  EXPECT_EQ(ended.code, 0) << ended.text;
  std::printf("%s", ended.text.c_str());
  EXPECT_EQ(occurrences(ended.text, "tickets in "), 2);
}

}  // namespace
