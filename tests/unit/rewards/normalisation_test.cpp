#include "rewards/normalisation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "base/quantile.h"
#include "golden.h"

namespace magicid::rewards {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> list(const at::Tensor& tensor) { return {tensor.data_ptr<double>(), tensor.data_ptr<double>() + tensor.numel()}; }

TEST(Normalisation, JointMinMaxToOneToTen) {
  const std::vector<double> values = list(fraction("quantiles", {23}));
  std::vector<Rewards> raw;
  for (double value : values) raw.push_back({value, 5 * value + 3, -value});
  const NormalisedPool pool = normalise_jointly(raw);
  const auto expected = golden()["normalised"].get<std::vector<double>>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(pool.rewards[i].identity, expected[i], 1e-12);
    EXPECT_NEAR(pool.rewards[i].dynamics, expected[i], 1e-12);
    EXPECT_NEAR(pool.rewards[i].semantics, 11 - expected[i], 1e-12);
    EXPECT_THAT(pool.rejections[i], IsEmpty());
  }
  EXPECT_THAT(pool.notes, IsEmpty());
}

TEST(Normalisation, EqualRewardsAreOneAndSaid) {
  // All stills: no motion anywhere, identities differ by rounding only.
  const NormalisedPool pool = normalise_jointly({{0.5, 0, 0.2}, {0.5 + 1e-8, 0, 0.3}, {0.5, 0, 0.4}});
  for (const Rewards& rewards : pool.rewards) {
    EXPECT_EQ(rewards.identity, 1);
    EXPECT_EQ(rewards.dynamics, 1);
  }
  EXPECT_NEAR(pool.rewards[1].semantics, 5.5, 1e-9);
  EXPECT_THAT(pool.notes, ElementsAre(HasSubstr("identity"), HasSubstr("dynamics")));
  // A model that is sure of every video.
  EXPECT_THAT(normalise_jointly({{0.5, 1, 1 - 1e-8}, {0.6, 2, 1}}).notes, ElementsAre(HasSubstr("the semantics reward is 1 for all 2 candidates")));
}

// Stills at 0, videos between 2 and 12 pixels, and one candidate of noise.
std::vector<Rewards> pool_with_noise(double noise) {
  std::vector<Rewards> raw;
  for (int i = 0; i < 4; ++i) raw.push_back({0.8, 0, 0.2});
  for (int i = 0; i < 40; ++i) raw.push_back({0.1 + 0.005 * i, 2 + 0.25 * i, 0.2 + 0.001 * i});
  raw.push_back({0.0, noise, 0.2});
  return raw;
}

TEST(Normalisation, OneOutlierOfDynamicsDoesNotDecide) {
  const NormalisedPool quiet = normalise_jointly(pool_with_noise(11)), noisy = normalise_jointly(pool_with_noise(189));
  EXPECT_THAT(quiet.notes, IsEmpty());
  EXPECT_EQ(noisy.dynamics.maximum, quiet.dynamics.maximum);
  for (std::size_t i = 0; i + 1 < quiet.rewards.size(); ++i) {
    EXPECT_EQ(noisy.rewards[i].identity, quiet.rewards[i].identity) << i;  // stills keep their identity: far from the others', and no outlier
    EXPECT_EQ(noisy.rewards[i].dynamics, quiet.rewards[i].dynamics) << i;
  }
  EXPECT_EQ(noisy.rewards.back().dynamics, 10);
  EXPECT_THAT(noisy.notes, ElementsAre(testing::AllOf(HasSubstr("dynamics reward of 1 of 45"), HasSubstr("189"), HasSubstr("11.75"))));
}

TEST(Normalisation, WhatIsNoOutlier) {
  EXPECT_EQ(range_without_high_outliers({0, 1, 2, 40}).maximum, 40);  // of four nobody can say
  EXPECT_EQ(range_without_high_outliers({0, 1, 2, 3, 40}).maximum, 3);
  EXPECT_EQ(range_without_high_outliers({0, 1, 2, 3, 9}).maximum, 9);        // three times the others' width is healthy
  EXPECT_EQ(range_without_high_outliers({0, 0, 0, 0, 0, 0, 5}).maximum, 5);  // the others hold nothing that could be pressed together
  std::vector<double> mostly_still(100, 0.1);
  for (int i = 0; i < 92; ++i) mostly_still[static_cast<std::size_t>(i)] = 0.001 * i;
  for (int i = 92; i < 100; ++i) mostly_still[static_cast<std::size_t>(i)] = i;
  EXPECT_EQ(range_without_high_outliers(mostly_still).maximum, 99);  // one in twelve is a kind of its own
  EXPECT_EQ(range_without_high_outliers({-40, 1, 2, 3, 4, 5}).minimum, -40);
  EXPECT_THROW(range_without_high_outliers({}), base::InvariantError);
}

TEST(Normalisation, OneCandidate) {
  const NormalisedPool pool = normalise_jointly({{0.7, 3, 0.2}});
  EXPECT_EQ(pool.rewards[0].identity, 1);
  EXPECT_THAT(pool.notes, ElementsAre(HasSubstr("one candidate")));
}

TEST(Normalisation, ValuesThatAreNotFiniteAreRejectedWithTheReason) {
  const NormalisedPool pool = normalise_jointly({{0.1, 1, 0.2}, {nan, 2, infinity}, {0.3, 2, 0.4}, {0.2, -infinity, 0.3}});
  EXPECT_THAT(pool.rejections, ElementsAre(IsEmpty(), "identity reward is nan, semantics reward is inf", IsEmpty(), "dynamics reward is -inf"));
  EXPECT_TRUE(std::isnan(pool.rewards[1].identity) && std::isnan(pool.rewards[3].semantics));
  EXPECT_EQ(pool.rewards[2].dynamics, 10);
  EXPECT_EQ(pool.dynamics.minimum, 1);
  EXPECT_THAT(pool.notes, ElementsAre(HasSubstr("2 of 4")));
  EXPECT_THROW(normalise_jointly({{nan, 1, 1}, {1, nan, 1}}), base::UserError);
  EXPECT_THAT(normalise_jointly({}).rewards, IsEmpty());
}

TEST(Statistics, QuantilesAsNumpy) {
  const std::vector<double> values = list(fraction("quantiles", {23}));
  const auto figures = golden();
  for (const auto& [q, expected] : figures["quantiles"].items()) EXPECT_NEAR(base::quantile(values, std::stod(q)), expected.get<double>(), 1e-12) << q;
  EXPECT_EQ(base::quantile({4}, 0.3), 4);
  EXPECT_THROW(base::quantile({}, 0.5), base::InvariantError);
  EXPECT_THROW(base::quantile({1, nan}, 0.5), base::InvariantError);
  EXPECT_THROW(base::quantile({1, 2}, 1.5), base::InvariantError);
}

}  // namespace
}  // namespace magicid::rewards
