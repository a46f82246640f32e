#include "work/pieces.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "base/errors.h"
#include "base/stop_signals.h"
#include "comm/local.h"
#include "comm/threads.h"
#include "comm/watchdog.h"
#include "support/failing_pieces.h"

namespace magicid::work {
namespace {

using std::chrono::milliseconds;
using testing::FailsIn;
using ::testing::HasSubstr;
using ::testing::Not;

Pieces pieces_of(std::size_t count) {
  Pieces pieces{.label = "videos", .missing = {}, .total = count + 2};  // two of an earlier run
  for (std::size_t i = 0; i < count; ++i) pieces.missing.push_back(i + 2);
  return pieces;
}

// What the progress bar and the log say meanwhile.
std::string said(const std::function<void()>& work) {
  ::testing::internal::CaptureStderr();
  work();
  return ::testing::internal::GetCapturedStderr();
}

// Runs `work` with a short limit for the wait of one rank for another.
void with_timeout(milliseconds timeout, const std::function<void()>& work) {
  const auto before = comm::collective_timeout();
  comm::set_collective_timeout(timeout);
  work();
  comm::set_collective_timeout(before);
}

TEST(FindMissing, IsRankZerosAnswerOnAllRanks) {
  std::atomic<int> asked{0};
  comm::run_threads(3, [&](comm::Communicator& world) {
    const auto missing = find_missing(world, 5, [&](std::size_t i) {
      ++asked;
      return i % 2 == 0;
    });
    EXPECT_EQ(missing, (std::vector<std::size_t>{1, 3}));
  });
  EXPECT_EQ(asked, 5);
}

TEST(WorkThrough, EachPieceIsMadeOnce) {
  for (const int ranks : {1, 2, 4}) {
    std::mutex mutex;
    std::multiset<std::size_t> made;
    const std::string text = said([&] {
      comm::run_threads(ranks, [&](comm::Communicator& world) {
        work_through(world, pieces_of(9), [&](std::size_t piece, Pulse& pulse) {
          pulse.beat_or_stop();
          std::lock_guard lock(mutex);
          made.insert(piece);
        });
      });
    });
    EXPECT_EQ(made, (std::multiset<std::size_t>{2, 3, 4, 5, 6, 7, 8, 9, 10}));
    EXPECT_THAT(text, HasSubstr("11/11"));
  }
}

// Rank 0 finds the queue closed, has no failure of its own, and must not say that all is made.
TEST(WorkThrough, AFailureIsEverybodysAndNoProgressLineSaysThatAllIsMade) {
  std::atomic<int> threw{0}, made{0};
  const std::string text = said([&] {
    comm::run_threads(3, [&](comm::Communicator& world) {
      try {
        work_through(world, pieces_of(7), [&](std::size_t, Pulse&) {
          if (world.rank() == 1) throw base::SystemError("the disk is full");
          std::this_thread::sleep_for(milliseconds(30));
          ++made;
        });
      } catch (const base::SystemError& error) {
        EXPECT_THAT(error.what(), HasSubstr("videos failed on 1 of 3 ranks"));
        EXPECT_THAT(error.what(), HasSubstr("the disk is full"));
        ++threw;
      }
    });
  });
  EXPECT_EQ(threw, 3);
  EXPECT_LE(made, 4) << "what the others have in hand is finished, nothing more is drawn";
  EXPECT_THAT(text, Not(HasSubstr("9/9")));
  EXPECT_THAT(text, Not(HasSubstr("took")));
}

TEST(WorkThrough, TheLastPieceCountsWhenAllRanksHaveAgreed) {
  std::atomic<bool> drawn{false};
  std::atomic<int> others{0};
  const auto make = [&](int rank) {
    if (rank == 1) drawn = true;
    while (!drawn) std::this_thread::sleep_for(milliseconds(1));
    if (rank == 0) ++others;
    while (rank == 1 && others < 6) std::this_thread::sleep_for(milliseconds(1));
    if (rank == 1) throw base::SystemError("the disk is full");
  };
  const std::string text = said([&] {
    EXPECT_THROW(comm::run_threads(2, [&](comm::Communicator& world) { work_through(world, pieces_of(7), [&](std::size_t, Pulse&) { make(world.rank()); }); }),
                 base::SystemError);
  });
  EXPECT_EQ(others, 6);
  EXPECT_THAT(text, Not(HasSubstr("9/9")));
  EXPECT_THAT(text, Not(HasSubstr("took")));
}

TEST(WorkThroughTogether, ThePiecesOfAGroupAreMadeByAllOfItAndKeptByItsLeader) {
  for (const int ranks : {1, 2, 4}) {
    std::mutex mutex;
    std::multiset<std::size_t> kept;
    std::atomic<int> calls{0};
    comm::run_threads(ranks, [&](comm::Communicator& world) {
      const int size = std::min(2, ranks);
      const auto sequence = world.split(world.rank() / size, world.rank());
      work_through_together(
          {world, *sequence}, pieces_of(5),
          [&](std::size_t piece, Pulse& pulse) {
            ++calls;
            pulse.beat_or_stop();
            at::Tensor sum = at::full({1}, static_cast<std::int64_t>(piece), at::kLong);
            sequence->all_reduce(sum);
            return sum;
          },
          [&](std::size_t piece, const at::Tensor& result) {
            EXPECT_EQ(sequence->rank(), 0);
            EXPECT_EQ(result.item<std::int64_t>(), static_cast<std::int64_t>(piece) * size);
            std::lock_guard lock(mutex);
            kept.insert(piece);
          });
    });
    EXPECT_EQ(kept, (std::multiset<std::size_t>{2, 3, 4, 5, 6}));
    EXPECT_EQ(calls, 5 * std::min(2, ranks));
  }
}

class FailuresOfAGroup : public ::testing::TestWithParam<std::tuple<int, FailsIn, bool>> {};
TEST_P(FailuresOfAGroup, EndAllRanksWithTheErrorAndItsCode) {
  const auto& [rank, piece, while_kept] = GetParam();
  if (while_kept && rank % 2 == 1) GTEST_SKIP() << "the leader alone keeps";
  for (const bool as_preview : {false, true}) {
    std::atomic<int> ended{0};
    const auto start = std::chrono::steady_clock::now();
    const std::string text = said([&] {
      try {
        comm::run_threads(4, [&](comm::Communicator& world) {
          try {
            const auto work = [&] { testing::make_failing_pieces(world, {.rank = rank, .piece = piece, .while_kept = while_kept}, 0.1); };
            if (as_preview) finished_unless_stopped(world, work);
            else work();
          } catch (...) {
            ++ended;
            throw;
          }
        });
        ADD_FAILURE() << "no error";
      } catch (const base::SystemError& error) {
        EXPECT_THAT(error.what(), HasSubstr("this rank's memory is full"));
      }
    });
    EXPECT_EQ(ended, 4);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
    EXPECT_THAT(text, Not(HasSubstr("7/7")));
    EXPECT_THAT(text, Not(HasSubstr("took")));
  }
}
INSTANTIATE_TEST_SUITE_P(Where, FailuresOfAGroup,
                         ::testing::Combine(::testing::Values(0, 1, 2, 3), ::testing::Values(FailsIn::first, FailsIn::middle, FailsIn::last),
                                            ::testing::Bool()));

// What all of the group threw together by agree() is no reason to end the job without the others.
TEST(WorkThroughTogether, AnErrorThatTheGroupAgreedOnIsAgreedByAll) {
  std::atomic<int> threw{0};
  comm::run_threads(4, [&](comm::Communicator& world) {
    const auto sequence = world.split(world.rank() / 2, world.rank());
    try {
      work_through_together(
          {world, *sequence}, pieces_of(5),
          [&](std::size_t, Pulse&) {
            comm::agree(*sequence, "loading the model", [&] {
              if (world.rank() == 1) throw base::UserError("transformer/config.json: is missing");
            });
            std::this_thread::sleep_for(milliseconds(10));
            return at::ones({1});
          },
          [](std::size_t, const at::Tensor&) {});
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("videos failed on 2 of 4 ranks"));
      ++threw;
    }
  });
  EXPECT_EQ(threw, 4);
}

TEST(FinishedUnlessStopped, AStopRequestBetweenStepsLeavesWhatIsFinished) {
  std::atomic<int> kept{0};
  comm::run_threads(4, [&](comm::Communicator& world) {
    const auto sequence = world.split(world.rank() / 2, world.rank());
    const bool finished = finished_unless_stopped(world, [&] {
      work_through_together(
          {world, *sequence}, pieces_of(1000),
          [&](std::size_t piece, Pulse& pulse) {
            if (piece == 20 && sequence->rank() == 1) std::raise(SIGTERM);
            pulse.beat_or_stop();
            return at::ones({1});
          },
          [&](std::size_t, const at::Tensor&) { ++kept; });
    });
    EXPECT_FALSE(finished);
  });
  EXPECT_GE(kept, 17);
  EXPECT_LT(kept, 1000);
  base::StopSignals::clear();
}

TEST(FinishedUnlessStopped, FinishedWorkIsFinished) {
  const auto world = comm::make_local_communicator();
  EXPECT_TRUE(finished_unless_stopped(*world, [&] { work_through(*world, pieces_of(3), [](std::size_t, Pulse&) {}); }));
  EXPECT_THROW(finished_unless_stopped(*world, [] { throw base::UserError("bad"); }), base::UserError);
  EXPECT_FALSE(finished_unless_stopped(*world, [] { throw base::RequeueRequest("asked"); }));
}

TEST(Patience, WorkThatGivesSignsOfLifeIsWaitedForLongerThanTheLimit) {
  with_timeout(milliseconds(500), [] {
    comm::run_threads(4, [](comm::Communicator& world) {
      const auto sequence = world.split(world.rank() / 2, world.rank());
      work_through_together(
          {world, *sequence}, pieces_of(1),
          [](std::size_t, Pulse& pulse) {
            for (int step = 0; step < 60; ++step) {
              std::this_thread::sleep_for(milliseconds(20));
              pulse.beat_or_stop();
            }
            return at::ones({1});
          },
          [](std::size_t, const at::Tensor&) {});
    });
  });
}

TEST(Patience, WorkThatGivesNoSignOfLifeEndsTheJobAndIsNamed) {
  with_timeout(milliseconds(300), [] {
    try {
      comm::run_threads(3, [](comm::Communicator& world) {
        agree_with_patience(world, "encoding", [&](Pulse&) {
          if (world.rank() == 1) std::this_thread::sleep_for(milliseconds(900));
        });
      });
      ADD_FAILURE() << "no error";
    } catch (const base::PeerError& error) {
      EXPECT_THAT(error.what(), HasSubstr("encoding: rank 1 of 3 (node "));
      EXPECT_THAT(error.what(), HasSubstr("no sign of life for more than the limit of 0.3 s"));
    }
  });
}

}  // namespace
}  // namespace magicid::work
