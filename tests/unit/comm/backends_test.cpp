#include "comm/local.h"
#include "comm/threads.h"
#include "comm/watchdog.h"
#include "support/communicator_suite.h"

#include <gmock/gmock.h>

#include <tuple>

namespace magicid::comm {
namespace {

using ::testing::HasSubstr;

class LocalSuite : public ::testing::TestWithParam<testing::SuiteCase> {};
TEST_P(LocalSuite, Holds) {
  auto world = make_local_communicator();
  GetParam().run(*world);
}
INSTANTIATE_TEST_SUITE_P(Suite, LocalSuite, ::testing::ValuesIn(testing::communicator_suite()), [](const auto& info) { return info.param.name; });

class ThreadSuite : public ::testing::TestWithParam<std::tuple<testing::SuiteCase, int>> {};
TEST_P(ThreadSuite, Holds) {
  run_threads(std::get<1>(GetParam()), [](Communicator& world) { std::get<0>(GetParam()).run(world); });
}
INSTANTIATE_TEST_SUITE_P(Suite, ThreadSuite, ::testing::Combine(::testing::ValuesIn(testing::communicator_suite()), ::testing::Values(1, 2, 3, 4)),
                         [](const auto& info) { return std::string(std::get<0>(info.param).name) + std::to_string(std::get<1>(info.param)); });

TEST(Threads, AnExceptionWakesTheOthersWhereverTheyWait) {
  std::atomic<int> heard{0};
  try {
    run_threads(4, [&](Communicator& world) {
      auto part = world.split(world.rank() / 2, 0);
      if (world.rank() == 3) throw base::SystemError("disk full");
      try {
        world.rank() < 2 ? world.barrier() : part->barrier();
      } catch (const base::PeerError& error) {
        EXPECT_THAT(error.what(), HasSubstr("rank 3 of 4 failed: disk full"));
        ++heard;
        throw;
      }
    });
    FAIL() << "no error";
  } catch (const base::SystemError& error) {
    EXPECT_STREQ(error.what(), "disk full");
  }
  EXPECT_EQ(heard, 3);
}

TEST(Threads, RanksThatCallDifferentThingsAllThrow) {
  std::atomic<int> threw{0};
  run_threads(3, [&](Communicator& world) {
    at::Tensor tensor = world.rank() == 1 ? at::zeros({3}) : at::zeros({4});
    try {
      world.all_reduce(tensor);
    } catch (const base::InvariantError& error) {
      EXPECT_THAT(error.what(), HasSubstr("rank 1 calls"));
      ++threw;
    }
  });
  EXPECT_EQ(threw, 3);
}

TEST(Threads, ARankThatNeverArrivesEndsTheWait) {
  const auto before = collective_timeout();
  set_collective_timeout(std::chrono::milliseconds(100));
  try {
    run_threads(3, [](Communicator& world) {
      if (world.rank() != 1) world.barrier();
    });
    ADD_FAILURE() << "no error";
  } catch (const base::PeerError& error) {
    EXPECT_THAT(error.what(), HasSubstr("barrier over threads"));
    EXPECT_THAT(error.what(), HasSubstr("1 of 3 ranks did not arrive"));
  }
  set_collective_timeout(before);
}

}  // namespace
}  // namespace magicid::comm
