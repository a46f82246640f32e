#include "work/signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace magicid::work {
namespace {

void (*handler_of(int number))(int) {
  struct sigaction now {};
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

}  // namespace
}  // namespace magicid::work
