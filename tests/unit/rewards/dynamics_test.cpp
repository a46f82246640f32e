#include "rewards/dynamics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "golden.h"
#include "rewards/frame_sampling.h"

namespace magicid::rewards {
namespace {

// Flow that says how much the mean brightness changed, in the x direction, everywhere.
at::Tensor brightness_flow(const at::Tensor& first, const at::Tensor& second) {
  at::Tensor flow = at::zeros({first.size(0), 2, first.size(2), first.size(3)});
  flow.select(1, 0).copy_((second.mean({1, 2, 3}) - first.mean({1, 2, 3})).reshape({-1, 1, 1}).expand({-1, first.size(2), first.size(3)}));
  return flow;
}

at::Tensor ramp(std::int64_t frames, double step) {
  return (at::arange(frames, at::kFloat) * step).reshape({frames, 1, 1, 1}).expand({frames, 3, 8, 10}).contiguous();
}

TEST(Dynamics, MotionIsTheMeanOfTheLargestFivePercent) {
  EXPECT_NEAR(motion_of_flow(fraction("flow of a pair", {2, 13, 17}) * 9), golden()["motion"].get<double>(), 1e-9);
  at::Tensor flow = at::zeros({2, 3, 4});  // fewer than 20 pixels: the largest
  flow[0][1][1] = 3.0f;
  flow[1][1][1] = 4.0f;
  EXPECT_NEAR(motion_of_flow(flow), 5, 1e-6);
  flow[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(motion_of_flow(flow)));
}

TEST(Dynamics, StepFollowsTheFrameRateAsPythonRounds) {
  const auto figures = golden();
  for (const auto& [fps, step] : figures["flow_step"].items()) {
    const auto indices = frames_for_flow(100, std::stod(fps), 8);
    EXPECT_EQ(indices[1], step.get<std::int64_t>()) << fps;
    EXPECT_LT(indices.back(), 100);
    EXPECT_GE(indices.back() + step.get<std::int64_t>(), 100);
  }
}

TEST(Dynamics, PairsAreConsecutiveSampledFrames) {
  const Dynamics slow = measure_dynamics(ramp(9, 1), 8, 8, brightness_flow, 3);
  EXPECT_EQ(slow.pair_scores.size(), 8u);
  EXPECT_NEAR(slow.score, 1, 1e-5);
  const Dynamics fast = measure_dynamics(ramp(61, 1), 24, 8, brightness_flow, 4);  // every third frame
  EXPECT_EQ(fast.pair_scores.size(), 20u);
  EXPECT_NEAR(fast.score, 3, 1e-5);
  EXPECT_TRUE(fast.reason.empty());
  EXPECT_EQ(measure_dynamics(ramp(61, 0), 24, 8, brightness_flow).score, 0);
}

TEST(Dynamics, OneFrameHasNoMotionAndSaysWhy) {
  const auto never = [](const at::Tensor&, const at::Tensor&) -> at::Tensor { throw std::logic_error("asked for flow"); };
  const Dynamics one = measure_dynamics(ramp(1, 1), 24, 8, never);
  EXPECT_EQ(one.score, 0);
  EXPECT_FALSE(one.dynamic);
  EXPECT_EQ(one.reason, "the video has one frame");
  EXPECT_NE(measure_dynamics(ramp(3, 1), 24, 8, never).reason.find("3 frames at 24"), std::string::npos);
}

TEST(Dynamics, VBenchsDecision) {
  // 256 lines: threshold 6 pixels; 16 frames: four moving pairs are needed.
  EXPECT_FALSE(is_dynamic({7, 7, 7, 0, 0, 0}, 16, 256, 400));
  EXPECT_TRUE(is_dynamic({7, 7, 7, 7, 0, 0}, 16, 256, 400));
  EXPECT_FALSE(is_dynamic({6, 6, 6, 6}, 16, 256, 400));
  EXPECT_TRUE(is_dynamic({3.1, 3.1, 3.1, 3.1}, 16, 400, 128));
  EXPECT_TRUE(is_dynamic({7, 7}, 10, 256, 256));  // 2.5 rounds to 2
  EXPECT_FALSE(is_dynamic({0}, 2, 256, 256));
  EXPECT_TRUE(is_dynamic({7}, 2, 256, 256));
}

}  // namespace
}  // namespace magicid::rewards
