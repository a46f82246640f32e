// Parity with diffusers' FlowMatchEulerDiscreteScheduler: golden files by tests/reference/make_scheduler.py.
#include "diffusion/flow_match_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "support/formula_weights.h"

namespace magicid::diffusion {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kData = std::filesystem::path(MAGICID_TEST_DATA) / "scheduler";

TEST(FlowMatchEulerScheduler, VisitsTheSigmasOfTheReferenceToTheBit) {
  const json golden = tests::read_json(kData / "schedules.json");
  ASSERT_GE(golden.at("schedules").size(), 30u);
  for (const json& one : golden.at("schedules")) {
    SCOPED_TRACE(one.at("shift").dump() + " shift, steps " + one.at("steps").dump());
    const NoiseSchedule schedule = FlowMatchEulerScheduler({}).with_shift(one.at("shift")).schedule(one.at("steps"));
    EXPECT_EQ(schedule.sigmas, one.at("sigmas").get<std::vector<float>>());
    EXPECT_EQ(schedule.timesteps, one.at("timesteps").get<std::vector<float>>());
    EXPECT_EQ(schedule.steps(), one.at("steps").get<int>());
    EXPECT_EQ(schedule.sigmas.front(), 1.0f);
    EXPECT_EQ(schedule.sigmas.back(), 0.0f);
  }
}

TEST(FlowMatchEulerScheduler, ReadsTheConfigurationThatDiffusersWrites) {
  const json config = tests::read_json(kData / "schedules.json").at("default_config");
  const FlowMatchEulerScheduler scheduler = FlowMatchEulerScheduler::from_json(config, "scheduler_config.json");
  EXPECT_EQ(scheduler.config().shift, 7.0);
  EXPECT_EQ(scheduler.config().num_train_timesteps, 1000);
  EXPECT_EQ(FlowMatchEulerScheduler::from_json(scheduler.to_json(), "again").schedule(4).sigmas, scheduler.schedule(4).sigmas);
  EXPECT_EQ(FlowMatchEulerScheduler::from_json(json::object(), "empty").config().shift, 1.0);
}

TEST(FlowMatchEulerScheduler, ReadsAFolder) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "scheduler_folder";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "scheduler_config.json") << R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 5})";
  EXPECT_EQ(FlowMatchEulerScheduler::from_folder(folder).config().shift, 5.0);
  std::ofstream(folder / "scheduler_config.json") << "{ shift";
  EXPECT_THAT([&] { FlowMatchEulerScheduler::from_folder(folder); }, ThrowsMessage<base::UserError>(HasSubstr("not valid JSON")));
  std::filesystem::remove_all(folder);
  EXPECT_THAT([&] { FlowMatchEulerScheduler::from_folder(folder); }, ThrowsMessage<base::UserError>(HasSubstr("scheduler_config.json")));
}

TEST(FlowMatchEulerScheduler, RefusesWhatItDoesNotDo) {
  const auto refused = [](const json& config, const char* key) {
    EXPECT_THAT([&] { FlowMatchEulerScheduler::from_json(config, "scheduler_config.json"); },
                ThrowsMessage<base::UserError>(AllOf(HasSubstr("scheduler_config.json"), HasSubstr(key))));
  };
  for (const char* key : {"use_dynamic_shifting", "invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling"}) {
    refused({{key, true}}, key);
    EXPECT_NO_THROW(FlowMatchEulerScheduler::from_json({{key, false}}, "scheduler_config.json"));
  }
  refused({{"shift_terminal", 0.02}}, "shift_terminal");
  EXPECT_NO_THROW(FlowMatchEulerScheduler::from_json({{"shift_terminal", nullptr}}, "scheduler_config.json"));
  refused({{"_class_name", "DDIMScheduler"}}, "DDIMScheduler");
  refused({{"shift", "7"}}, "shift");
  refused({{"shift", -1}}, "shift");
  refused({{"num_train_timesteps", 0}}, "num_train_timesteps");
  refused(json::array(), "JSON object");
  EXPECT_THROW(FlowMatchEulerScheduler({}).with_shift(0), base::UserError);
  EXPECT_THROW(FlowMatchEulerScheduler({}).schedule(0), base::UserError);
}

}  // namespace
}  // namespace magicid::diffusion
