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
    EXPECT_NEAR(pool.rewards[i].semantic, 11 - expected[i], 1e-12);
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
  EXPECT_NEAR(pool.rewards[1].semantic, 5.5, 1e-9);
  EXPECT_THAT(pool.notes, ElementsAre(HasSubstr("identity"), HasSubstr("dynamics")));
}

TEST(Normalisation, OneCandidate) {
  const NormalisedPool pool = normalise_jointly({{0.7, 3, 0.2}});
  EXPECT_EQ(pool.rewards[0].identity, 1);
  EXPECT_THAT(pool.notes, ElementsAre(HasSubstr("one candidate")));
}

TEST(Normalisation, ValuesThatAreNotFiniteAreRejectedWithTheReason) {
  const NormalisedPool pool = normalise_jointly({{0.1, 1, 0.2}, {nan, 2, infinity}, {0.3, 2, 0.4}, {0.2, -infinity, 0.3}});
  EXPECT_THAT(pool.rejections, ElementsAre(IsEmpty(), "identity reward is nan, semantic reward is inf", IsEmpty(), "dynamics reward is -inf"));
  EXPECT_TRUE(std::isnan(pool.rewards[1].identity) && std::isnan(pool.rewards[3].semantic));
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
