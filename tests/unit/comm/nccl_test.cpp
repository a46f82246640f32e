#include "comm/nccl_library.h"

#include "comm/threads.h"
#include "comm/watchdog.h"
#include "support/communicator_suite.h"
#include "support/nccl_double.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <tuple>

namespace magicid::comm {
namespace {

using ::testing::HasSubstr;
using testing::NcclDouble;

// The nccl backend with the double as library; each rank's host communicator is a part of the threads' world.
void run_nccl(int size, const std::shared_ptr<NcclDouble>& library, const std::function<void(Communicator&)>& work) {
  run_threads(size, [&](Communicator& threads) {
    auto world = make_nccl_communicator(library, threads.split(0, threads.rank()));
    work(*world);
  });
}

class NcclSuite : public ::testing::TestWithParam<std::tuple<testing::SuiteCase, int>> {};
TEST_P(NcclSuite, Holds) {
  auto library = std::make_shared<NcclDouble>();
  run_nccl(std::get<1>(GetParam()), library, [](Communicator& world) { std::get<0>(GetParam()).run(world); });
  EXPECT_EQ(library->finalized, library->opened);
  EXPECT_EQ(library->destroyed, library->opened);
  EXPECT_EQ(library->aborted, 0);
}
INSTANTIATE_TEST_SUITE_P(Suite, NcclSuite, ::testing::Combine(::testing::ValuesIn(testing::communicator_suite()), ::testing::Values(1, 2, 3, 4)),
                         [](const auto& info) { return std::string(std::get<0>(info.param).name) + std::to_string(std::get<1>(info.param)); });

TEST(Nccl, CallsOncePerRankAndSendsOnlyWhatThereIs) {
  auto library = std::make_shared<NcclDouble>();
  run_nccl(3, library, [](Communicator& world) {
    at::Tensor tensor = at::ones({8});
    world.all_reduce(tensor);
    world.all_gather(tensor);                                   // even: one call
    world.all_gather(at::ones({world.rank(), 2}));              // uneven: 0, 1 and 2 rows to two others each
    std::vector<std::int64_t> none(3, 0);
    world.all_to_all(at::ones({0, 5}), none, none);
  });
  EXPECT_EQ(library->calls["all_reduce"], 3);
  EXPECT_EQ(library->calls["all_gather"], 3);
  EXPECT_EQ(library->calls["send"], 4);
  EXPECT_EQ(library->calls["receive"], 4);
}

class NcclFailure : public ::testing::Test {
 protected:
  void SetUp() override {
    timeout_ = collective_timeout();
    handler_ = set_expiry_handler([this](const std::string& message) {
      std::lock_guard lock(mutex_);
      reports_ += message + "\n";
    });
  }
  void TearDown() override {
    set_expiry_handler(handler_);
    set_collective_timeout(timeout_);
  }
  std::string reports() {
    std::lock_guard lock(mutex_);
    return reports_;
  }

 private:
  std::mutex mutex_;
  std::string reports_;
  std::chrono::milliseconds timeout_{};
  ExpiryHandler handler_;
};

TEST_F(NcclFailure, ARankThatNeverArrivesIsAbortedNamedAndRefusedAfterwards) {
  auto library = std::make_shared<NcclDouble>();
  std::atomic<int> threw{0};
  run_nccl(3, library, [&](Communicator& world) {
    world.barrier();
    // Only the device side is to time out: the host's own barrier waits for these two again with the usual time.
    if (world.rank() == 0) set_collective_timeout(std::chrono::milliseconds(300));
    if (world.rank() != 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      at::Tensor tensor = at::ones({4});
      EXPECT_THROW(world.all_reduce(tensor), base::PeerError);
      try {
        world.broadcast(tensor, 0);
      } catch (const base::PeerError& error) {
        EXPECT_THAT(error.what(), HasSubstr("was aborted: has waited"));
        ++threw;
      }
    }
  });
  EXPECT_EQ(threw, 2);
  EXPECT_THAT(reports(), HasSubstr("rank 0 of 3"));
  EXPECT_THAT(reports(), HasSubstr("rank 2 of 3"));
  EXPECT_THAT(reports(), HasSubstr("all_reduce of 16 bytes over nccl"));
  EXPECT_EQ(library->aborted, 2);
  EXPECT_EQ(library->destroyed, 1);  // rank 1's is healthy
}

TEST_F(NcclFailure, AnAsynchronousErrorReleasesWhoWaits) {
  auto library = std::make_shared<NcclDouble>();
  std::atomic<int> threw{0};
  EXPECT_THROW(run_nccl(2, library,
                        [&](Communicator& world) {
                          world.barrier();
                          if (world.rank() == 0) {
                            library->break_rank(1, "remote process exited or there was a network error");
                            throw base::SystemError("this rank is lost");
                          }
                          at::Tensor tensor = at::ones({4});
                          try {
                            world.broadcast(tensor, 0);
                          } catch (const base::PeerError& error) {
                            EXPECT_THAT(error.what(), HasSubstr("network error"));
                            ++threw;
                          }
                        }),
               base::SystemError);
  EXPECT_EQ(threw, 1);
  EXPECT_THAT(reports(), HasSubstr("rank 1 of 2"));
  EXPECT_EQ(library->aborted + library->destroyed, library->opened);
}

TEST_F(NcclFailure, RanksThatDisagreeOnCountsFail) {
  auto library = std::make_shared<NcclDouble>();
  std::atomic<int> threw{0};
  run_nccl(2, library, [&](Communicator& world) {
    at::Tensor tensor = at::ones({world.rank() + 1});
    try {
      world.all_reduce(tensor);
    } catch (const base::PeerError& error) {
      EXPECT_THAT(error.what(), HasSubstr("ranks call different things"));
      ++threw;
    }
  });
  EXPECT_EQ(threw, 2);
  EXPECT_EQ(library->aborted, 2);
}

TEST_F(NcclFailure, AStartThatDoesNotEndIsAborted) {
  auto library = std::make_shared<NcclDouble>();
  library->never_ready = true;
  set_collective_timeout(std::chrono::milliseconds(200));
  try {
    run_nccl(2, library, [](Communicator&) { ADD_FAILURE() << "joined"; });
    ADD_FAILURE() << "no error";
  } catch (const base::PeerError& error) {
    EXPECT_THAT(error.what(), HasSubstr("could not join over nccl"));
  }
  EXPECT_EQ(library->aborted, library->opened);
}

}  // namespace
}  // namespace magicid::comm
