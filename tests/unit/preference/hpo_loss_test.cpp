#include "preference/hpo_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace magicid::preference {
namespace {

TEST(HpoLoss, IsExactlyLogTwoWhenPolicyIsReference) {
  for (double beta : {0.1, 100.0, 2000.0, 1e6}) {
    const auto terms = hpo_terms({.winner = 0.3, .loser = 1.7, .reference_winner = 0.3, .reference_loser = 1.7}, beta);
    EXPECT_EQ(terms.loss, std::numbers::ln2);
    EXPECT_EQ(terms.gradient_factor, beta / 4);
    EXPECT_EQ(terms.accuracy, 0.5);
    EXPECT_EQ(terms.saturation, 0);
  }
}

TEST(HpoLoss, GradientAgreesWithFiniteDifferences) {
  const PairErrors at{.winner = 0.31, .loser = 0.52, .reference_winner = 0.33, .reference_loser = 0.5};
  const double beta = 37, h = 1e-6;
  const auto loss = [&](double dw, double dl) {
    PairErrors e = at;
    e.winner += dw, e.loser += dl;
    return hpo_terms(e, beta).loss;
  };
  const double factor = hpo_terms(at, beta).gradient_factor;
  EXPECT_NEAR((loss(h, 0) - loss(-h, 0)) / (2 * h), factor, 1e-6 * factor);
  EXPECT_NEAR((loss(0, h) - loss(0, -h)) / (2 * h), -factor, 1e-6 * factor);
}

TEST(HpoLoss, StaysFiniteAndSaysThatItIsSaturated) {
  const auto won = hpo_terms({.winner = 0, .loser = 10, .reference_winner = 5, .reference_loser = 5}, 1e4);
  EXPECT_EQ(won.loss, 0);
  EXPECT_EQ(won.gradient_factor, 0);
  EXPECT_NEAR(won.saturation, 1, 1e-12);
  EXPECT_EQ(won.accuracy, 1);
  const auto lost = hpo_terms({.winner = 10, .loser = 0, .reference_winner = 5, .reference_loser = 5}, 1e4);
  EXPECT_DOUBLE_EQ(lost.loss, 5e4);
  EXPECT_DOUBLE_EQ(lost.gradient_factor, 5e3);
  EXPECT_EQ(lost.accuracy, 0);
}

}  // namespace
}  // namespace magicid::preference
