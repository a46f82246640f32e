#include "diffusion/flow_matching.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/errors.h"
#include "diffusion/guidance.h"
#include "diffusion/initial_noise.h"
#include "support/formula_weights.h"

namespace magicid::diffusion {
namespace {

TEST(FlowMatching, NoisesAsTheReference) {
  const auto golden = storage::SafetensorsFile::open(std::string(MAGICID_TEST_DATA) + "/scheduler/trajectory.safetensors");
  const at::Tensor x0 = tests::formula_tensor("x0", {3, 2, 4}), noise = tests::formula_tensor("noise", {3, 2, 4});
  const at::Tensor sigma = golden.at("noised_sigma");
  EXPECT_LT(tests::relative_error(add_noise(x0, noise, sigma), golden.at("noised")), 1e-6);
  for (int i = 0; i < 3; ++i) EXPECT_LT(tests::relative_error(add_noise(x0, noise, sigma[i].item<float>())[i], golden.at("noised")[i]), 1e-6);
}

TEST(FlowMatching, TheTargetIsTheDerivativeOfThePath) {
  const at::Tensor x0 = tests::formula_tensor("x0", {2, 3}), noise = tests::formula_tensor("noise", {2, 3});
  const at::Tensor slope = (add_noise(x0, noise, 0.75) - add_noise(x0, noise, 0.25)) / 0.5;
  EXPECT_LT(tests::relative_error(slope, velocity_target(x0, noise)), 1e-5);
  EXPECT_TRUE(at::equal(add_noise(x0, noise, 0.0), x0));
  EXPECT_TRUE(at::equal(add_noise(x0, noise, 1.0), noise));
  EXPECT_EQ(velocity_target(x0.to(at::kBFloat16), noise).scalar_type(), at::kFloat);
  EXPECT_THROW(add_noise(x0, noise.slice(0, 0, 1), 0.5), base::InvariantError);
  EXPECT_THROW(add_noise(x0, noise, at::zeros({3})), base::InvariantError);
}

TEST(SampleSigma, EachStratumOfTheGlobalBatchIsHitOnce) {
  for (const std::int64_t batch : {1, 2, 7, 8}) {
    for (std::uint64_t step = 0; step < 20; ++step) {
      std::set<std::int64_t> strata;
      for (std::int64_t i = 0; i < batch; ++i) {
        const double u = sample_sigma(5, step, i, batch, 1.0);
        EXPECT_GT(u, 0);
        EXPECT_LT(u, 1);
        strata.insert(static_cast<std::int64_t>(u * static_cast<double>(batch)));
      }
      EXPECT_EQ(static_cast<std::int64_t>(strata.size()), batch);
    }
  }
}

TEST(SampleSigma, IsUniformBeforeTheShiftAndTiedToNoPlaceInTheBatch) {
  constexpr std::int64_t kBatch = 4;
  constexpr int kDraws = 4000;
  for (std::int64_t index = 0; index < kBatch; ++index) {
    std::vector<double> drawn;
    for (int step = 0; step < kDraws; ++step) drawn.push_back(sample_sigma(11, static_cast<std::uint64_t>(step), index, kBatch, 1.0));
    std::sort(drawn.begin(), drawn.end());
    double distance = 0;  // Kolmogorov-Smirnov; the 0.1% point is 1.95 / sqrt(n)
    for (int i = 0; i < kDraws; ++i) distance = std::max(distance, std::abs(drawn[static_cast<std::size_t>(i)] - (i + 0.5) / kDraws));
    EXPECT_LT(distance, 1.95 / std::sqrt(kDraws)) << "index " << index;
  }
}

TEST(SampleSigma, DependsOnItsArgumentsAlone) {
  EXPECT_EQ(sample_sigma(1, 2, 3, 8, 7.0), sample_sigma(1, 2, 3, 8, 7.0));
  EXPECT_NE(sample_sigma(1, 2, 3, 8, 7.0), sample_sigma(2, 2, 3, 8, 7.0));
  EXPECT_NE(sample_sigma(1, 2, 3, 8, 7.0), sample_sigma(1, 3, 3, 8, 7.0));
  EXPECT_DOUBLE_EQ(sample_sigma(1, 2, 3, 8, 7.0), shift_sigma(sample_sigma(1, 2, 3, 8, 1.0), 7.0));
  EXPECT_DOUBLE_EQ(shift_sigma(0.5, 7.0), 0.875);
  EXPECT_THROW(sample_sigma(1, 2, 8, 8, 7.0), base::InvariantError);
}

TEST(InitialNoise, IsStandardNormalAndReproducible) {
  const at::Tensor noise = initial_noise(3, "candidate-noise", {1, 16, 5, 30, 40});
  EXPECT_EQ(noise.scalar_type(), at::kFloat);
  EXPECT_NEAR(noise.mean().item<double>(), 0, 0.02);
  EXPECT_NEAR(noise.std().item<double>(), 1, 0.02);
  EXPECT_TRUE(at::equal(noise, initial_noise(3, "candidate-noise", {1, 16, 5, 30, 40})));
  EXPECT_FALSE(at::equal(noise, initial_noise(4, "candidate-noise", {1, 16, 5, 30, 40})));
  EXPECT_FALSE(at::equal(noise, initial_noise(3, "training-noise", {1, 16, 5, 30, 40})));
  EXPECT_FALSE(at::equal(noise, initial_noise(3, "candidate-noise", {1, 16, 5, 30, 40}, 1)));
  // A flat draw of a part is the beginning of the whole, whatever the threads did.
  EXPECT_TRUE(at::equal(noise.flatten().slice(0, 0, 20001), initial_noise(3, "candidate-noise", {20001})));
}

TEST(Guidance, EmbeddedAndTrue) {
  const at::Tensor embedded = embedded_guidance(6.0, 2);
  EXPECT_TRUE(at::equal(embedded, at::tensor({6000.0f, 6000.0f})));
  EXPECT_TRUE(uses_true_guidance(1.5, true));
  EXPECT_FALSE(uses_true_guidance(1.5, false));
  EXPECT_FALSE(uses_true_guidance(1.0, true));
  const at::Tensor combined = true_guidance(at::tensor({3.0f, 0.0f}), at::tensor({1.0f, 2.0f}), 4.0);
  EXPECT_TRUE(at::equal(combined, at::tensor({9.0f, -6.0f})));
}

}  // namespace
}  // namespace magicid::diffusion
