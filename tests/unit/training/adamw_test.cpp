#include "training/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace magicid::training {
namespace {

TEST(AdamW, AgreesWithTheFormulaInDouble) {
  Options options;
  options.weight_decay = 0.1;
  const int n = 257;
  at::Tensor p = at::sin(at::arange(n, at::kFloat));
  AdamW optimizer(p, options);
  std::vector<double> ep(n), m(n, 0), v(n, 0);
  for (int i = 0; i < n; ++i) ep[i] = p[i].item<float>();
  for (int t = 1; t <= 5; ++t) {
    at::Tensor g = at::cos(at::arange(n, at::kFloat) * t);
    const double rate = 0.01 / t;
    for (int i = 0; i < n; ++i) {
      const double grad = g[i].item<float>();
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * grad;
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * grad * grad;
      ep[i] -= rate * options.weight_decay * ep[i];
      ep[i] -= rate * (m[i] / (1 - std::pow(options.beta1, t))) / (std::sqrt(v[i] / (1 - std::pow(options.beta2, t))) + options.epsilon);
    }
    optimizer.update(p, g, rate);
  }
  EXPECT_EQ(optimizer.steps(), 5);
  for (int i = 0; i < n; ++i) EXPECT_NEAR(p[i].item<float>(), ep[i], 2e-6) << i;
}

TEST(AdamW, RestoredStateContinuesToTheBit) {
  Options options;
  at::Tensor whole = at::linspace(-1, 1, 100);
  AdamW one(whole, options);
  const auto gradient = [](int t) { return at::cos(at::arange(100, at::kFloat) * t); };
  const auto run = [&](AdamW& optimizer, at::Tensor& p, int from, int to) {
    for (int t = from; t < to; ++t) {
      at::Tensor g = gradient(t);
      optimizer.update(p, g, 1e-2);
    }
  };
  run(one, whole, 0, 4);
  at::Tensor part = whole.clone();
  AdamW two(part, options);
  two.restore(one.first_moment().clone(), one.second_moment().clone(), one.steps());
  run(one, whole, 4, 9);
  run(two, part, 4, 9);
  EXPECT_TRUE(at::equal(whole, part));
}

TEST(Clip, ScalesOnlyWhatIsLonger) {
  at::Tensor g = at::full({4}, 3.0f);  // norm 6
  EXPECT_NEAR(clip_by_global_norm(g, 10), 6, 1e-6);
  EXPECT_EQ(g[0].item<float>(), 3);
  EXPECT_NEAR(clip_by_global_norm(g, 1.5), 6, 1e-6);
  EXPECT_NEAR(g.norm().item<float>(), 1.5, 1e-5);
  at::Tensor h = at::full({4}, 3.0f);
  clip_by_global_norm(h, 0);
  EXPECT_EQ(h[0].item<float>(), 3);
}

TEST(Schedule, WarmsUpAndDecays) {
  Options o;
  o.steps = 100, o.learning_rate = 1, o.warmup_steps = 10;
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 9), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 99), 1);
  o.schedule = "linear";
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 55), 0.5);
  o.schedule = "cosine";
  EXPECT_NEAR(learning_rate_at(o, 55), 0.5, 1e-12);
  EXPECT_LT(learning_rate_at(o, 99), 0.01);
  o.decay_steps = 20;  // constant up to step 80
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 80), 1);
  EXPECT_NEAR(learning_rate_at(o, 90), 0.5, 1e-12);
  EXPECT_LT(learning_rate_at(o, 99), 0.01);
  o.decay_steps = 1000;  // as long as there are steps after the warmup
  EXPECT_NEAR(learning_rate_at(o, 55), 0.5, 1e-12);
}

}  // namespace
}  // namespace magicid::training
