// The Frechet distance against numpy (tests/reference/make_frechet.py) and against Gaussians whose distance is known.
#include "evaluation/frechet.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/random.h"
#include "unit/rewards/golden.h"

namespace magicid::evaluation {
namespace {

at::Tensor normal(std::uint64_t seed, std::int64_t rows, std::int64_t columns) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  base::CounterRandom(seed, "frechet").normal(values, 0);
  return at::tensor(values).to(at::kDouble).reshape({rows, columns});
}

TEST(Frechet, AgreesWithNumpy) {
  const auto cases = tests::read_json(std::string(MAGICID_TEST_DATA) + "/rewards/frechet.json").at("cases");
  ASSERT_GE(cases.size(), 6u);
  for (const auto& [name, expected] : cases.items()) {
    SCOPED_TRACE(name);
    const std::int64_t n = expected["shape"][0], d = expected["shape"][1], m = expected["shape"][2];
    const at::Tensor mix = rewards::fraction(name + " mix", {d, d});
    const at::Tensor a = at::matmul(rewards::fraction(name + " a", {n, d}), mix), b = at::matmul(rewards::fraction(name + " second", {m, d}), mix) * 1.5 + 0.25;
    // The reference's square roots of singular matrices are good to about 1e-7 of the traces.
    EXPECT_NEAR(frechet_distance(a, b), expected["distance"].get<double>(), 1e-6 * expected["distance"].get<double>());
    EXPECT_NEAR(frechet_distance(b, a), frechet_distance(a, b), 1e-9 * frechet_distance(a, b));
  }
}

TEST(Frechet, GaussiansOfKnownDistance) {
  // Covariances that commute: the distance is |mu|^2 + sum (s1 - s2)^2 with the standard deviations s1, s2 along the axes.
  const at::Tensor z = normal(1, 20000, 3);
  const at::Tensor a = z * at::tensor({1.0, 2.0, 0.5}).to(at::kDouble),
                   b = normal(2, 20000, 3) * at::tensor({3.0, 2.0, 0.1}).to(at::kDouble) + at::tensor({0.0, 1.0, -2.0}).to(at::kDouble);
  EXPECT_NEAR(frechet_distance(a, b), 5 + 4 + 0 + 0.16, 0.15);
  // Exactly: scaling a set about its mean, and moving it.
  const at::Tensor centred = z - z.mean(0);
  const double trace = centred.square().sum().item<double>() / 19999;
  EXPECT_NEAR(frechet_distance(centred, centred * 3 + 0.5), 3 * 0.25 + 4 * trace, 1e-8);
}

TEST(Frechet, ASetHasNoDistanceFromItself) {
  for (const auto& [rows, columns] : {std::pair<int, int>{2, 400}, {16, 400}, {500, 20}}) {
    const at::Tensor set = normal(3, rows, columns) * 100;
    EXPECT_LT(frechet_distance(set, set.flip(0)), 1e-8 * set.square().sum().item<double>());
  }
  EXPECT_EQ(frechet_distance(at::ones({5, 7}), at::ones({5, 7})), 0);
}

TEST(Frechet, WhatIsNotANumberShows) {
  at::Tensor set = normal(4, 6, 3);
  set[2][1] = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(frechet_distance(set, normal(5, 6, 3))));
  EXPECT_THROW(frechet_distance(at::ones({1, 3}), at::ones({4, 3})), base::InvariantError);
  EXPECT_THROW(frechet_distance(at::ones({4, 3}), at::ones({4, 2})), base::InvariantError);
}

}  // namespace
}  // namespace magicid::evaluation
