#include "base/stop_signals.h"

#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "base/errors.h"

namespace magicid::base {
namespace {

void (*handler_of(int number))(int) {
  struct sigaction now{};
  ::sigaction(number, nullptr, &now);
  return now.sa_handler;
}

// Previews draw from a work queue inside of the step loop: both watch for stop requests.
TEST(StopSignals, NestedOnesLeaveTheOutermostInCharge) {
  const auto before = handler_of(SIGTERM);
  {
    const StopSignals outer;
    const auto watching = handler_of(SIGTERM);
    EXPECT_NE(watching, before);
    {
      const StopSignals inner;
      EXPECT_EQ(handler_of(SIGTERM), watching);
      std::raise(SIGTERM);
    }
    EXPECT_EQ(handler_of(SIGTERM), watching);
    EXPECT_EQ(StopSignals::received(), SIGTERM) << "asked inside, still known outside";
  }
  EXPECT_EQ(handler_of(SIGTERM), before);
  StopSignals::clear();
}

TEST(StopSignals, EveryRequestIsHeardAndAnsweredOnce) {
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) {
    const auto before = handler_of(number);
    ::testing::internal::CaptureStderr();
    {
      const StopSignals signals(/*speaks=*/true);
      EXPECT_EQ(StopSignals::received(), 0);
      std::raise(number);
      EXPECT_EQ(StopSignals::received(), number);
    }
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("asked to stop"), std::string::npos) << said;
    EXPECT_EQ(handler_of(number), before);
    StopSignals::clear();
  }
}

TEST(StopSignalsDeathTest, TheSameSignalAgainEndsTheProgramAtOnce) {
  const auto twice = [] {
    const StopSignals signals;
    std::raise(SIGINT);
    std::raise(SIGINT);
  };
  EXPECT_EXIT(twice(), ::testing::KilledBySignal(SIGINT), "");
}

// Deep in a library nobody knows whether other ranks wait for this one: only who agreed with them opens the points.
TEST(StopPoints, ThrowOnlyWhereTheyWereOpenedOnThisThread) {
  const StopSignals signals;
  const auto asked = [] {
    try {
      stop_if_asked("loading x");
    } catch (const RequeueRequest& request) {
      EXPECT_EQ(std::string(request.what()).rfind("loading x: stopped on request", 0), 0u) << request.what();
      return true;
    }
    return false;
  };
  {
    const StopPoints here;
    EXPECT_FALSE(asked()) << "nobody asked";
  }
  std::raise(SIGTERM);
  EXPECT_FALSE(asked());
  {
    const StopPoints here;
    EXPECT_TRUE(asked());
    bool elsewhere = true;
    std::thread([&] { elsewhere = asked(); }).join();
    EXPECT_FALSE(elsewhere);
  }
  EXPECT_FALSE(asked());
  StopSignals::clear();
}

}  // namespace
}  // namespace magicid::base
