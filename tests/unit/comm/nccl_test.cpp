#include "comm/nccl_library.h"

#include "comm/threads.h"
#include "comm/watchdog.h"
#include "support/communicator_suite.h"
#include "support/nccl_double.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <future>
#include <tuple>

namespace magicid::comm {
namespace {

using ::testing::HasSubstr;
using testing::NcclDouble;
using ::testing::Not;

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
    world.all_gather(tensor);                       // even: one call
    world.all_gather(at::ones({world.rank(), 2}));  // uneven: 0, 1 and 2 rows to two others each
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
  std::barrier together(3);
  run_nccl(3, library, [&](Communicator& world) {
    // Only the device side is to time out, so all are joined by then.
    if (world.rank() == 0) set_collective_timeout(std::chrono::milliseconds(300));
    together.arrive_and_wait();
    if (world.rank() != 1) {
      at::Tensor tensor = at::ones({4});
      EXPECT_THROW(world.all_reduce(tensor), base::PeerError);
      try {
        world.broadcast(tensor, 0);
      } catch (const base::PeerError& error) {
        EXPECT_THAT(error.what(), HasSubstr("was aborted: all_reduce of 16 bytes over nccl: has waited"));
        ++threw;
      }
    }
    // Rank 1 ends its use in order, which needs the others: not before they have given up.
    together.arrive_and_wait();
  });
  EXPECT_EQ(threw, 2);
  EXPECT_THAT(reports(), HasSubstr("rank 0 of 3"));
  EXPECT_THAT(reports(), HasSubstr("rank 2 of 3"));
  EXPECT_THAT(reports(), HasSubstr("all_reduce of 16 bytes over nccl"));
  EXPECT_THAT(reports(), Not(HasSubstr("rank 1 of 3")));
  EXPECT_EQ(library->finalized, 1);  // rank 1's is healthy, but its peers are gone
  EXPECT_EQ(library->aborted, 3);
}

TEST_F(NcclFailure, ADeviceThatNeverFinishesIsAbortedNamedAndReleasesItsHost) {
  auto library = std::make_shared<NcclDouble>();
  std::atomic<int> threw{0};
  std::barrier together(2);
  run_nccl(2, library, [&](Communicator& world) {
    if (world.rank() == 0) {
      library->stick_devices();
      set_collective_timeout(std::chrono::seconds(1));
    }
    together.arrive_and_wait();
    at::Tensor tensor = at::ones({4});
    EXPECT_NO_THROW(world.all_reduce(tensor));  // the call returns; what hangs is the device
    EXPECT_TRUE(library->synchronize()) << "nobody stopped the device of rank " << world.rank();
    try {
      world.broadcast(tensor, 0);
    } catch (const base::PeerError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("the nccl group of rank " + std::to_string(world.rank()) + " of 2 was aborted: all_reduce of 16 bytes over nccl: has waited"));
      EXPECT_THAT(error.what(), HasSubstr("raise the collective timeout (MAGICID_COLLECTIVE_TIMEOUT"));
      ++threw;
    }
  });
  EXPECT_EQ(threw, 2);
  for (const std::string rank : {"rank 0 of 2", "rank 1 of 2"}) EXPECT_THAT(reports(), HasSubstr(rank));
  EXPECT_THAT(reports(), HasSubstr("all_reduce of 16 bytes over nccl: has waited"));
  EXPECT_THAT(reports(), HasSubstr("raise the collective timeout (MAGICID_COLLECTIVE_TIMEOUT"));
  EXPECT_EQ(library->aborted, library->opened);
  EXPECT_EQ(library->finalized, 0);
}

TEST_F(NcclFailure, ARankLostInASplitIsNamedAndTheOthersAreReleased) {
  auto library = std::make_shared<NcclDouble>();
  std::atomic<int> threw{0};
  std::barrier together(3);
  EXPECT_THROW(run_nccl(3, library,
                        [&](Communicator& world) {
                          if (world.rank() == 0) {
                            library->lose_rank(1, "split");
                            set_collective_timeout(std::chrono::seconds(2));  // also the host's limit, whose own split comes first
                          }
                          together.arrive_and_wait();
                          try {
                            world.split(0, world.rank());
                          } catch (const base::PeerError& error) {
                            EXPECT_THAT(error.what(), HasSubstr("split over nccl failed on rank " + std::to_string(world.rank()) + " of 3"));
                            EXPECT_THAT(error.what(), HasSubstr("Another rank was lost"));
                            ++threw;
                            EXPECT_THROW(world.split(0, world.rank()), base::PeerError);  // refused at once
                          }
                        }),
               base::SystemError);
  EXPECT_EQ(threw, 2);
  for (const std::string rank : {"rank 0 of 3", "rank 2 of 3"}) EXPECT_THAT(reports(), HasSubstr(rank));
  EXPECT_THAT(reports(), HasSubstr("split over nccl: has waited"));
  EXPECT_EQ(library->aborted, 3);  // rank 1's by its own error
  EXPECT_EQ(library->opened, 3);
}

TEST_F(NcclFailure, ARankLostWhileJoiningIsNamedAndTheOthersAreReleased) {
  auto library = std::make_shared<NcclDouble>();
  library->lose_rank(1, "init");
  set_collective_timeout(std::chrono::seconds(2));  // also the host's limit, over which the unique id goes first
  std::atomic<int> threw{0};
  EXPECT_THROW(run_threads(3,
                           [&](Communicator& threads) {
                             try {
                               make_nccl_communicator(library, threads.split(0, threads.rank()));
                               ADD_FAILURE() << "joined";
                             } catch (const base::PeerError& error) {
                               EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(threads.rank()) + " of 3 could not join over nccl"));
                               EXPECT_THAT(error.what(), HasSubstr("Another rank was lost"));
                               ++threw;
                             }
                           }),
               base::SystemError);
  EXPECT_EQ(threw, 2);
  for (const std::string rank : {"rank 0 of 3", "rank 2 of 3"}) EXPECT_THAT(reports(), HasSubstr(rank));
  EXPECT_THAT(reports(), HasSubstr("join over nccl: has waited"));
  EXPECT_EQ(library->opened, 2);
  EXPECT_EQ(library->aborted, 2);
}

TEST_F(NcclFailure, ARankThatFailsAloneWaitsForNobody) {
  auto library = std::make_shared<NcclDouble>();
  std::promise<void> ended;
  std::future<void> end = ended.get_future();
  EXPECT_THROW(run_threads(2,
                           [&](Communicator& threads) {
                             const int rank = threads.rank();
                             try {
                               auto world = make_nccl_communicator(library, threads.split(0, rank));
                               auto part = world->split(0, rank);
                               if (rank == 1) throw base::SystemError("no space left on the device");
                               EXPECT_EQ(end.wait_for(std::chrono::seconds(30)), std::future_status::ready)
                                   << "rank 1 waits for rank 0, which may never come, to close its communicators";
                             } catch (const base::SystemError&) {
                               ended.set_value();
                               throw;
                             }
                           }),
               base::SystemError);
  EXPECT_EQ(library->opened, 4);
  EXPECT_EQ(library->finalized, 2);  // rank 0's, which ended without an error
  EXPECT_EQ(library->aborted, 4);    // rank 1's, and then rank 0's, whose peer is gone
  EXPECT_EQ(reports(), "");
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
