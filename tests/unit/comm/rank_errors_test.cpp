#include "comm/rank_errors.h"

#include "comm/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <new>

namespace magicid::comm {
namespace {

using base::ExitCode;

TEST(RankErrors, KindsFollowTheCause) {
  const auto kind = [](const auto& error) { return describe_failure(std::make_exception_ptr(error)).code; };
  EXPECT_EQ(kind(base::UserError("x")), ExitCode::user);
  EXPECT_EQ(kind(base::SystemError("x")), ExitCode::system);
  EXPECT_EQ(kind(base::PeerError("x")), ExitCode::peer);
  EXPECT_EQ(kind(base::RequeueRequest("x")), ExitCode::requeue);
  EXPECT_EQ(kind(base::InvariantError("x")), ExitCode::bug);
  EXPECT_EQ(kind(std::bad_alloc()), ExitCode::system);
  EXPECT_EQ(kind(std::filesystem::filesystem_error("x", std::error_code())), ExitCode::system);
  EXPECT_EQ(kind(std::runtime_error("x")), ExitCode::bug);
  EXPECT_EQ(kind(42), ExitCode::bug);
}

TEST(RankErrors, FailuresSurviveTheJourneyAndAreThrownAgain) {
  for (const auto code : {ExitCode::user, ExitCode::system, ExitCode::peer, ExitCode::requeue, ExitCode::bug}) {
    const auto back = decode_failure(5, encode_failure(Failure{code, "two\nlines"}));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->rank, 5);
    EXPECT_EQ(back->node, node_name());
    EXPECT_EQ(back->failure.text, "two\nlines");
    try {
      throw_failure(back->failure);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.exit_code(), code);
    }
  }
  EXPECT_FALSE(decode_failure(0, encode_failure(std::nullopt)).has_value());
}

TEST(RankErrors, EqualTextsShareALine) {
  const Failure full{ExitCode::system, "disk full"}, other{ExitCode::user, "bad key"};
  EXPECT_EQ(failure_report("save", {{0, "a", full}, {1, "a", full}, {2, "a", full}, {4, "a", full}, {5, "b", other}}, 8),
            "save failed on 5 of 8 ranks:\n  ranks 0-2, 4 (node a): disk full\n  rank 5 (node b): bad key");
}

TEST(RankErrors, AgreedErrorsAreMarkedWithTheSizeOfTheirGroup) {
  run_threads(3, [](Communicator& world) {
    try {
      agree(world, "work", [&] {
        if (world.rank() == 1) throw base::RequeueRequest("saved");
      });
      ADD_FAILURE() << "no error";
    } catch (const base::RequeueRequest&) {
      EXPECT_EQ(agreed_ranks(std::current_exception()), 3);
    }
  });
  EXPECT_EQ(agreed_ranks(std::make_exception_ptr(base::UserError("x"))), 0);
}

TEST(RankErrors, InAGroupOfOneTheErrorPassesUnchanged) {
  run_threads(1, [](Communicator& world) {
    try {
      agree(world, "work", [] { throw std::out_of_range("as it was"); });
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "as it was");
    }
  });
}

}  // namespace
}  // namespace magicid::comm
