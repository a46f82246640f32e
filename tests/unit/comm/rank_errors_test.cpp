#include "comm/rank_errors.h"

#include "comm/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/empty.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <new>
#include <system_error>
#include <vector>

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
  EXPECT_EQ(kind(std::system_error(EAGAIN, std::generic_category())), ExitCode::system) << "a thread that could not be started";
  EXPECT_EQ(kind(std::runtime_error("x")), ExitCode::bug);
  EXPECT_EQ(kind(42), ExitCode::bug);
}

// Where memory ends, each library has its own word for it; none of them is a bug of ours.
TEST(RankErrors, HostMemoryThatRunsOutIsTheSystems) {
  const auto failure_of = [](const std::function<void()>& action) {
    try {
      action();
    } catch (...) {
      return describe_failure(std::current_exception());
    }
    return Failure{ExitCode::success, "nothing was thrown"};
  };
  const std::vector<std::pair<std::string, std::function<void()>>> actions{
#ifndef __SANITIZE_ADDRESS__  // whose allocator ends the program instead of refusing
      {"a tensor", [] { at::empty({std::int64_t{1} << 50}); }},
      {"a vector", [] { std::vector<char> large(std::size_t{1} << 62); }},
#endif
      {"OpenCV", [] { throw std::runtime_error("OpenCV(4.6.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 99 bytes"); }},
      {"the system", [] { throw std::system_error(ENOMEM, std::generic_category(), "mmap"); }}};
  for (const auto& [name, action] : actions) {
    const Failure failure = failure_of(action);
    EXPECT_EQ(failure.code, ExitCode::system) << name << ": " << failure.text;
    EXPECT_THAT(failure.text, ::testing::HasSubstr("the host's memory ran out")) << name;
  }
}

TEST(RankErrors, FailuresSurviveTheJourneyAndAreThrownAgain) {
  for (const auto code : {ExitCode::user, ExitCode::system, ExitCode::peer, ExitCode::requeue, ExitCode::bug}) {
    const auto back = decode_failure(encode_failure(Failure{code, "two\nlines"}, 5));
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
  EXPECT_FALSE(decode_failure(encode_failure(std::nullopt, 0)).has_value());
}

TEST(RankErrors, EqualTextsShareALine) {
  const Failure full{ExitCode::system, "disk full"}, other{ExitCode::user, "bad key"};
  EXPECT_EQ(failure_report("save", {{0, "a", full}, {1, "a", full}, {2, "a", full}, {4, "a", full}, {5, "b", other}}, 8, 8),
            "save failed on 5 of 8 ranks:\n  ranks 0-2, 4 (node a): disk full\n  rank 5 (node b): bad key");
}

// Rank 1 of a group of 2 may be any rank of the job: what a user can look for is the job's number.
TEST(RankErrors, AGroupNamesItsRanksAsTheJobDoes) {
  run_threads(6, [](Communicator& world) {
    const auto group = world.split(world.rank() % 2, 0);  // 0 2 4 and 1 3 5
    EXPECT_EQ(group->world_rank(), world.rank());
    EXPECT_EQ(group->world_size(), 6);
    EXPECT_EQ(name_of(*group), base::concat("rank ", world.rank(), " of 6 (rank ", group->rank(), " of a group of 3)"));
    EXPECT_EQ(name_of(world), base::concat("rank ", world.rank(), " of 6"));
    std::string message;
    try {
      agree(*group, "keep", [&] {
        if (world.rank() == 5) throw base::SystemError("disk full");
      });
    } catch (const base::SystemError& error) {
      message = error.what();
    }
    if (world.rank() % 2 == 0) EXPECT_EQ(message, "");
    else EXPECT_EQ(message, "keep failed on 1 of the 3 ranks of a group (of 6 in the job):\n  rank 5 (node " + node_name() + "): disk full");
    const auto whole = group->split(0, 0)->split(0, 0);
    EXPECT_EQ(whole->world_rank(), world.rank()) << "a group of a group";
  });
}

TEST(RankErrors, AStopOnRequestIsToldAsItIs) {
  run_threads(3, [](Communicator& world) {
    try {
      agree(world, "work", [&] {
        if (world.rank() > 0) throw base::RequeueRequest("stopped on request");
      });
      ADD_FAILURE() << "no error";
    } catch (const base::RequeueRequest& error) {
      EXPECT_STREQ(error.what(), "stopped on request");
    }
  });
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
