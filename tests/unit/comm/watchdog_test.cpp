#include "comm/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

namespace magicid::comm {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class WatchdogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    timeout_ = collective_timeout();
    set_collective_timeout(milliseconds(100));
    handler_ = set_expiry_handler([this](const std::string& message) {
      std::lock_guard lock(mutex_);
      messages_.push_back(message);
      changed_.notify_all();
    });
  }
  void TearDown() override {
    set_expiry_handler(handler_);
    set_collective_timeout(timeout_);
  }
  std::vector<std::string> wait_for_message() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return !messages_.empty(); });
    return messages_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> messages_;
  milliseconds timeout_{};
  ExpiryHandler handler_;
};

TEST_F(WatchdogTest, ReportsAnOperationThatOutlivesItsTimeoutOnce) {
  {
    const Watch watch({.name = "all_reduce", .backend = "mpi", .rank = 1, .size = 4, .bytes = 4096});
    const auto messages = wait_for_message();
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_THAT(messages[0], HasSubstr("rank 1 of 4"));
    EXPECT_THAT(messages[0], HasSubstr("all_reduce of 4096 bytes over mpi"));
    EXPECT_THAT(messages[0], HasSubstr("longer than the limit of 0.1 s"));
    std::this_thread::sleep_for(milliseconds(250));
  }
  EXPECT_EQ(wait_for_message().size(), 1u);
}

TEST_F(WatchdogTest, SaysNothingOfOperationsThatEndInTime) {
  for (int i = 0; i < 20; ++i) {
    const Watch watch({.name = "barrier", .backend = "mpi"});
    std::this_thread::sleep_for(milliseconds(10));
  }
  std::lock_guard lock(mutex_);
  EXPECT_TRUE(messages_.empty());
}

TEST_F(WatchdogTest, AsksPolledOperationsAndTellsThemTheirEnd) {
  std::atomic<int> polls{0};
  std::string told;
  const auto finished = watch_polled({.operation = {.name = "broadcast", .backend = "nccl"},
                                      .poll = [&] { return PollResult{.state = ++polls < 3 ? PollState::running : PollState::finished, .reason = {}}; },
                                      .on_failure = [&](const std::string& reason) { told = reason; }});
  while (polls < 3) std::this_thread::sleep_for(milliseconds(2));
  forget(finished);
  EXPECT_EQ(polls, 3);
  EXPECT_EQ(told, "");
  const auto failed = watch_polled({.operation = {.name = "broadcast", .backend = "nccl"},
                                    .poll = [] { return PollResult{.state = PollState::failed, .reason = "remote process exited"}; },
                                    .on_failure = [&](const std::string& reason) { told = reason; }});
  EXPECT_THAT(wait_for_message().at(0), HasSubstr("remote process exited"));
  forget(failed);
  EXPECT_EQ(told, "remote process exited");
}

TEST_F(WatchdogTest, ReportsAlsoWhenTheReleaseHangs) {
  std::promise<void> let_go;
  const auto hanging = watch_polled({.operation = {.name = "broadcast", .backend = "nccl"},
                                     .poll = [] { return PollResult{.state = PollState::failed, .reason = "remote process exited"}; },
                                     .on_failure = [&](const std::string&) { let_go.get_future().wait(); }});
  const std::string message = wait_for_message().at(0);
  EXPECT_THAT(message, HasSubstr("remote process exited"));
  EXPECT_THAT(message, HasSubstr("has not ended within"));
  let_go.set_value();
  forget(hanging);
}

}  // namespace
}  // namespace magicid::comm
