#include "base/names.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/progress.h"

namespace magicid::base {
namespace {

TEST(Names, NearestIsFoundAndFarIsNot) {
  const std::vector<std::string> known = {"learning_rate", "lora_rank", "steps"};
  EXPECT_EQ(nearest_name("lerning_rate", known), "learning_rate");
  EXPECT_EQ(nearest_name("step", known), "steps");
  EXPECT_EQ(nearest_name("background", known), "");
  EXPECT_EQ(did_you_mean("lora_rnak", known), " (did you mean 'lora_rank'?)");
}

TEST(Names, JoinStopsAtTheLimit) { EXPECT_EQ(join_names({"a", "b", "c", "d"}, 2), "a, b and 2 more"); }

TEST(Errors, KindsCarryTheirExitCodes) {
  EXPECT_EQ(UserError("a", 1).exit_code(), ExitCode::user);
  EXPECT_STREQ(UserError("key ", 3, ": wrong").what(), "key 3: wrong");
  EXPECT_EQ(SystemError("x").exit_code(), ExitCode::system);
  EXPECT_EQ(PeerError("x").exit_code(), ExitCode::peer);
  EXPECT_EQ(RequeueRequest("x").exit_code(), ExitCode::requeue);
  EXPECT_THROW(check_invariant(false, "x"), InvariantError);
}

TEST(Progress, DurationsAreReadable) {
  EXPECT_EQ(format_duration(12.4), "12s");
  EXPECT_EQ(format_duration(75), "1m15s");
  EXPECT_EQ(format_duration(3700), "1h01m");
}

}  // namespace
}  // namespace magicid::base
