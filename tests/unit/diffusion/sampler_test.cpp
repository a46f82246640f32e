#include "diffusion/sampler.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "base/errors.h"
#include "support/formula_weights.h"

namespace magicid::diffusion {
namespace {

const std::vector<std::int64_t> kShape = {1, 4, 3, 5, 7};

NoiseSchedule schedule_of(double shift, int steps) { return FlowMatchEulerScheduler({}).with_shift(shift).schedule(steps); }

// The velocity of tests/reference/make_scheduler.py.
at::Tensor formula_velocity(const at::Tensor& latents, double timestep) {
  return 0.3 * latents + std::sin(timestep / 100) * tests::formula_tensor("target", kShape);
}

TEST(Sampler, FollowsTheTrajectoryOfTheReference) {
  const auto golden = storage::SafetensorsFile::open(std::string(MAGICID_TEST_DATA) + "/scheduler/trajectory.safetensors");
  const at::Tensor noise = tests::formula_tensor("latents", kShape);
  int calls = 0;
  const at::Tensor result = sample(
      schedule_of(7.0, 5), noise, [](const at::Tensor& latents, double timestep, int) { return formula_velocity(latents, timestep); },
      [&](const StepState& state) {
        EXPECT_EQ(state.step, calls);
        EXPECT_EQ(state.steps, 5);
        EXPECT_LT(tests::relative_error(state.latents, golden.at("latents." + std::to_string(calls))), 1e-6);
        ++calls;
      });
  EXPECT_EQ(calls, 5);
  EXPECT_LT(tests::relative_error(result, golden.at("latents.4")), 1e-6);
  EXPECT_TRUE(at::equal(noise, tests::formula_tensor("latents", kShape)));  // the caller's tensor is not written
}

TEST(Sampler, ReachesTheDataOnStraightPathsWithAnySchedule) {
  const at::Tensor x0 = tests::formula_tensor("x0", kShape), noise = tests::formula_tensor("noise", kShape);
  for (const int steps : {1, 3, 8}) {
    const at::Tensor result = sample(schedule_of(3.0, steps), noise, [&](const at::Tensor&, double, int) { return noise - x0; });
    EXPECT_LT(tests::relative_error(result, x0), 1e-5);
  }
}

TEST(Sampler, KeepsLatentsInFullPrecisionWithAHalfPrecisionModel) {
  const at::Tensor noise = tests::formula_tensor("latents", kShape);
  const auto run = [&](at::ScalarType dtype) {
    return sample(schedule_of(7.0, 5), noise.to(dtype), [&](const at::Tensor& latents, double timestep, int) {
      EXPECT_EQ(latents.scalar_type(), at::kFloat);
      return formula_velocity(latents, timestep).to(at::kBFloat16);
    });
  };
  const at::Tensor result = run(at::kFloat);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_FALSE(at::equal(result, result.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_EQ(run(at::kBFloat16).scalar_type(), at::kFloat);
}

TEST(Sampler, TellsTimestepsAndStopsWhenTheCallbackThrows) {
  const NoiseSchedule schedule = schedule_of(7.0, 4);
  std::vector<float> seen;
  const Velocity velocity = [&](const at::Tensor& latents, double timestep, int) {
    seen.push_back(static_cast<float>(timestep));
    return at::zeros_like(latents);
  };
  sample(schedule, at::zeros({1, 1, 1, 1, 1}), velocity);
  EXPECT_EQ(seen, schedule.timesteps);
  seen.clear();
  EXPECT_THROW(sample(schedule, at::zeros({1, 1, 1, 1, 1}), velocity,
                      [](const StepState& state) {
                        if (state.step == 1) throw std::runtime_error("stop");
                      }),
               std::runtime_error);
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Sampler, GradientsReachTheNoise) {
  at::Tensor noise = tests::formula_tensor("latents", kShape);
  noise.requires_grad_();
  sample(schedule_of(7.0, 3), noise, [](const at::Tensor& latents, double, int) { return 0.5 * latents; }).sum().backward();
  double factor = 1;
  const NoiseSchedule schedule = schedule_of(7.0, 3);
  for (std::size_t i = 0; i < 3; ++i) factor *= 1 + 0.5 * (schedule.sigmas[i + 1] - schedule.sigmas[i]);
  EXPECT_NEAR(noise.grad().mean().item<double>(), factor, 1e-6);
}

TEST(EulerStep, RefusesOtherPrecisionAndShapes) {
  const NoiseSchedule schedule = schedule_of(7.0, 2);
  const at::Tensor latents = at::zeros({1, 2});
  EXPECT_THROW(euler_step(schedule, 2, latents, latents), base::InvariantError);
  EXPECT_THROW(euler_step(schedule, 0, latents.to(at::kBFloat16), latents), base::InvariantError);
  EXPECT_THROW(euler_step(schedule, 0, latents, at::zeros({2, 2})), base::InvariantError);
}

}  // namespace
}  // namespace magicid::diffusion
