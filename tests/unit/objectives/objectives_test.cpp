// Reconstruction and HPO on a small random transformer: exactness at step 0, over ranks and over runs.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <set>

#include "base/errors.h"
#include "comm/threads.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "objectives/hpo.h"
#include "objectives/reconstruction.h"
#include "objectives/velocity_error.h"
#include "preference/hpo_loss.h"
#include "support/small_transformer.h"
#include "training/step_loop.h"

namespace magicid::objectives {
namespace {

namespace hv = models::hunyuan_video;

hv::TransformerConfig small() {
  auto c = tests::small_transformer_config();
  c.num_attention_heads = 2;
  return c;
}

hv::Transformer make_transformer(at::ScalarType dtype) {
  return hv::Transformer::load(small(), models::nn::Weights::from_tensors(hv::initialize_transformer(small(), 3), "test", {.dtype = dtype}));
}

at::Tensor numbers(std::initializer_list<std::int64_t> shape, double phase) {
  std::int64_t n = 1;
  for (auto s : shape) n *= s;
  return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).to(at::kFloat).reshape(at::IntArrayRef(shape.begin(), shape.size()));
}

models::generator::Condition condition(double phase, std::int64_t length) {
  at::Tensor mask = at::zeros({1, 6}, at::kLong);
  mask.narrow(1, 0, length).fill_(1);
  return {{{"prompt_embeds", numbers({1, 6, 24}, phase)}, {"pooled_prompt_embeds", numbers({1, 12}, phase)}, {"prompt_attention_mask", mask}}};
}

models::generator::Adapter make_adapter(double b_scale) {
  auto adapter = models::generator::Adapter::create(adaptable(small()), {.lora_rank = 4, .alpha = 4, .seed = 9});
  // B is zero at the start of training; a trained stage-1 adapter is not.
  if (b_scale > 0) {
    at::Tensor flat = adapter.flat_parameters();
    flat.add_(at::sin(at::arange(flat.numel(), at::kDouble)).to(at::kFloat), b_scale);
  }
  return adapter;
}

std::vector<HpoPair> make_pairs() {
  std::vector<HpoPair> pairs;
  for (int i = 0; i < 5; ++i)
    pairs.push_back({.winner = numbers({1, 4, 2, 4, 6}, i),
                     .loser = numbers({1, 4, 2, 4, 6}, i + 0.5),
                     .condition = condition(i, 3 + i % 4),
                     .kind = i % 2 ? preference::PairKind::dynamic : preference::PairKind::identity});
  return pairs;
}

std::vector<ReconstructionItem> make_items() {
  return {{numbers({1, 4, 1, 4, 6}, 0), condition(0, 4)}, {numbers({1, 4, 1, 6, 4}, 1), condition(1, 6)}, {numbers({1, 4, 1, 2, 2}, 2), condition(2, 2)}};
}

TEST(Hpo, LossOfTheFirstStepIsExactlyLogTwo) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto transformer = make_transformer(dtype);
    auto policy = make_adapter(0.05);
    const auto reference = policy.frozen_copy({});
    Hpo objective(transformer, {policy, &reference}, make_pairs(), {.beta = 2000}, {.seed = 1, .shift = 7});
    for (int slot = 0; slot < 6; ++slot) {
      const auto figures = objective.accumulate(0, slot, 6);
      EXPECT_EQ(figures[0], std::numbers::ln2) << (dtype == at::kFloat ? "fp32" : "bf16") << " slot " << slot;
    }
    EXPECT_GT(objective.gradient().abs().max().item<float>(), 0);
  }
}

// Finite differences of the loss along the gradient's direction.
void expect_gradient_of_loss(training::Objective& objective, const models::generator::Adapter& policy, std::int64_t step, std::int64_t slot,
                             std::int64_t global_batch) {
  objective.gradient().zero_();
  objective.accumulate(step, slot, global_batch);
  const at::Tensor ours = objective.gradient().clone();
  at::Tensor flat = policy.flat_parameters();
  const at::Tensor direction = ours / ours.norm();
  const double h = 1e-2;
  const auto loss_at = [&](double t) {
    const c10::AutoGradMode no_grad(false);
    flat.add_(direction, t);
    const c10::AutoGradMode grad(true);
    const double loss = objective.accumulate(step, slot, global_batch)[0];
    const c10::AutoGradMode again(false);
    flat.add_(direction, -t);
    return loss;
  };
  const double slope = (loss_at(h) - loss_at(-h)) / (2 * h);
  EXPECT_NEAR(slope, ours.norm().item<double>(), 0.02 * std::abs(slope));
}

// The gradient that accumulate() builds branch by branch is that of the whole loss.
TEST(Hpo, GradientEqualsThatOfTheJointLoss) {
  const auto transformer = make_transformer(at::kFloat);
  auto policy = make_adapter(0.05);
  const auto reference = make_adapter(0.04).frozen_copy({});
  const double beta = 30;
  Hpo objective(transformer, {policy, &reference}, make_pairs(), {.beta = beta}, {.seed = 1, .shift = 7});
  const auto figures = objective.accumulate(2, 1, 3);
  EXPECT_NEAR(figures[0], std::log1p(std::exp(-figures[2])), 1e-6);
  const auto terms = preference::hpo_terms({.winner = figures[7], .loser = figures[8], .reference_winner = figures[9], .reference_loser = figures[10]}, beta);
  EXPECT_DOUBLE_EQ(terms.loss, figures[0]);
  ASSERT_NE(figures[7], figures[9]);
  expect_gradient_of_loss(objective, policy, 2, 1, 3);
}

// With fixed draws the reference's errors are computed in the first rounds alone, and every figure and gradient stays what it would be without.
TEST(Hpo, KnownErrorsOfTheReferenceChangeNoBit) {
  const auto transformer = make_transformer(at::kFloat);
  auto policy = make_adapter(0.05);
  const auto reference = make_adapter(0.04).frozen_copy({});
  const HpoOptions options{.beta = 30, .share_dynamic = 0.5, .noise_draws = 2};
  Hpo objective(transformer, {policy, &reference}, make_pairs(), options, {.seed = 1, .shift = 7});
  std::map<const HpoPair*, std::vector<double>> seen;
  std::int64_t known = 0, samples = 24;
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    objective.gradient().zero_();
    const auto figures = objective.accumulate(sample, 0, 1);
    Hpo forgetful(transformer, {policy, &reference}, make_pairs(), options, {.seed = 1, .shift = 7});
    auto expected = forgetful.accumulate(sample, 0, 1);
    EXPECT_EQ(expected.back(), 0);
    known += figures.back() == 1;
    expected.back() = figures.back();
    EXPECT_EQ(figures, expected) << "sample " << sample;
    EXPECT_TRUE(at::equal(objective.gradient(), forgetful.gradient())) << "sample " << sample;
    seen[&objective.pair_of(sample)].push_back(figures[9]);
  }
  // Five pairs, of which three are identity pairs and two dynamic ones, each kind shown 12 times: two draws of each pair are computed.
  EXPECT_EQ(known, samples - 10);
  for (const auto& [pair, errors] : seen) {
    ASSERT_GE(errors.size(), 4u);
    EXPECT_NE(errors[0], errors[1]) << "the two draws are the same";
    for (std::size_t i = 2; i < errors.size(); ++i) EXPECT_EQ(errors[i], errors[i - 2]);
  }
}

TEST(Hpo, WeightsOfEachKindOfPairAndOfTheWinnersOwnError) {
  const auto transformer = make_transformer(at::kFloat);
  auto policy = make_adapter(0.05);
  const auto reference = make_adapter(0.04).frozen_copy({});
  const auto with = [&](HpoOptions options) {
    options.share_dynamic = 0.5;
    return Hpo(transformer, {policy, &reference}, make_pairs(), options, {.seed = 1, .shift = 7});
  };
  Hpo plain = with({.beta = 30}), weighted = with({.beta = 30, .identity_weight = 0.5, .dynamic_weight = 3});
  Hpo supervised = with({.beta = 30, .identity_supervised_weight = 0.25, .dynamic_supervised_weight = 4}),
      only = with({.beta = 30, .identity_weight = 0, .dynamic_weight = 0, .dynamic_supervised_weight = 4});
  int kinds[2] = {0, 0};
  for (int slot = 0; slot < 4; ++slot) {
    const auto gradient = [&](Hpo& objective) {
      objective.gradient().zero_();
      auto figures = objective.accumulate(0, slot, 4);
      return std::pair(figures, objective.gradient().clone());
    };
    const auto [figures, base] = gradient(plain);
    const bool dynamic = figures[11] == 1;
    ++kinds[dynamic];
    const double weight = dynamic ? 3 : 0.5;
    const auto [weighted_figures, weighted_gradient] = gradient(weighted);
    EXPECT_DOUBLE_EQ(weighted_figures[0], weight * figures[0]);
    EXPECT_TRUE(at::allclose(weighted_gradient, base * weight, 1e-5, 1e-8));
    const auto [supervised_figures, supervised_gradient] = gradient(supervised);
    EXPECT_DOUBLE_EQ(supervised_figures[0], figures[0] + (dynamic ? 4 : 0.25) * figures[7]);
    const auto [only_figures, only_gradient] = gradient(only);
    EXPECT_DOUBLE_EQ(only_figures[0], dynamic ? 4 * figures[7] : 0);
    if (dynamic) {
      EXPECT_TRUE(at::allclose(supervised_gradient - base, only_gradient, 1e-4, 1e-6));
    } else {
      EXPECT_EQ(only_gradient.abs().max().item<float>(), 0);
    }
    expect_gradient_of_loss(supervised, policy, 0, slot, 4);
  }
  EXPECT_EQ(kinds[0], 2);
  EXPECT_EQ(kinds[1], 2);
}

ReconstructionPrior make_prior(double weight) {
  return {{{numbers({1, 4, 1, 4, 4}, 5), condition(5, 3)}, {numbers({1, 4, 3, 4, 4}, 6), condition(6, 5)}}, weight, 7};
}

TEST(PriorPreservation, AddsTheClassSamplesErrorAndLeavesThePhotosAsTheyWere) {
  const auto transformer = make_transformer(at::kFloat);
  auto adapter = make_adapter(0.05);
  Reconstruction plain(transformer, adapter, make_items(), {.seed = 1, .shift = 3}),
      off(transformer, adapter, make_items(), {.seed = 1, .shift = 3}, make_prior(0)),
      half(transformer, adapter, make_items(), {.seed = 1, .shift = 3}, make_prior(0.5)),
      twice(transformer, adapter, make_items(), {.seed = 1, .shift = 3}, make_prior(2));
  EXPECT_EQ(off.metric_names(), plain.metric_names());
  EXPECT_EQ(half.metric_names().size(), 4u);
  std::set<double> prior_errors;
  for (int slot = 0; slot < 3; ++slot) {
    const auto gradient = [&](Reconstruction& objective) {
      objective.gradient().zero_();
      auto figures = objective.accumulate(1, slot, 3);
      return std::pair(figures, objective.gradient().clone());
    };
    const auto [figures, base] = gradient(plain);
    EXPECT_EQ(gradient(off).first, figures);
    const auto [half_figures, half_gradient] = gradient(half);
    const auto [twice_figures, twice_gradient] = gradient(twice);
    EXPECT_EQ(half_figures[2], figures[0]) << "the photo's own error";
    EXPECT_EQ(half_figures[1], figures[1]);
    EXPECT_DOUBLE_EQ(half_figures[0], half_figures[2] + 0.5 * half_figures[3]);
    EXPECT_EQ(half_figures[3], twice_figures[3]);
    EXPECT_TRUE(at::allclose((half_gradient - base) * 4, twice_gradient - base, 1e-3, 1e-6));
    EXPECT_GT((half_gradient - base).abs().max().item<float>(), 0);
    expect_gradient_of_loss(half, adapter, 1, slot, 3);
    prior_errors.insert(half_figures[3]);
  }
  EXPECT_EQ(prior_errors.size(), 3u);
  EXPECT_THROW(Reconstruction(transformer, adapter, make_items(), {.seed = 1, .shift = 3}, ReconstructionPrior{.weight = 1}), base::UserError);
}

template <class Objective, class Make>
at::Tensor one_step(int ranks, Make make) {
  at::Tensor result;
  comm::run_threads(ranks, [&](comm::Communicator& world) {
    const auto transformer = make_transformer(at::kFloat);
    auto adapter = make_adapter(0.05);
    const auto reference = make_adapter(0.05).frozen_copy({});
    Objective objective = make(transformer, adapter, reference);
    training::Options options;
    // Adam's first step is the gradient's sign where it is not tiny: there rounding is amplified to a share of the learning rate.
    options.steps = 1, options.global_batch = 4, options.learning_rate = 1e-3;
    training::run_steps("step", options, objective, world, {});
    if (world.rank() == 0) result = adapter.flat_parameters().clone();
  });
  return result;
}

double relative(const at::Tensor& a, const at::Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

TEST(OneStep, HpoGivesTheSameParametersOnOneTwoAndFourRanks) {
  const auto make = [](const hv::Transformer& t, models::generator::Adapter& a, const models::generator::Adapter& r) {
    return Hpo(t, {a, &r}, make_pairs(), {.beta = 100}, {.seed = 1, .shift = 7});
  };
  const at::Tensor one = one_step<Hpo>(1, make);
  EXPECT_GT(relative(make_adapter(0.05).flat_parameters(), one), 1e-3) << "the step changed nothing";
  for (int ranks : {2, 3, 4}) EXPECT_LT(relative(one_step<Hpo>(ranks, make), one), 1e-5) << ranks;
  EXPECT_TRUE(at::equal(one_step<Hpo>(2, make), one_step<Hpo>(2, make)));
}

TEST(OneStep, ReconstructionGivesTheSameParametersOnOneTwoAndFourRanks) {
  const auto make = [](const hv::Transformer& t, models::generator::Adapter& a, const models::generator::Adapter&) {
    return Reconstruction(t, a, make_items(), {.seed = 1, .shift = 3});
  };
  const at::Tensor one = one_step<Reconstruction>(1, make);
  EXPECT_GT(relative(make_adapter(0.05).flat_parameters(), one), 1e-3) << "the step changed nothing";
  for (int ranks : {2, 3, 4}) EXPECT_LT(relative(one_step<Reconstruction>(ranks, make), one), 1e-5) << ranks;
  EXPECT_TRUE(at::equal(one_step<Reconstruction>(4, make), one_step<Reconstruction>(4, make)));
  const auto with_prior = [](const hv::Transformer& t, models::generator::Adapter& a, const models::generator::Adapter&) {
    return Reconstruction(t, a, make_items(), {.seed = 1, .shift = 3}, make_prior(1));
  };
  const at::Tensor prior = one_step<Reconstruction>(1, with_prior);
  EXPECT_GT(relative(prior, one), 1e-4) << "the prior changed nothing";
  EXPECT_LT(relative(one_step<Reconstruction>(3, with_prior), prior), 1e-5);
}

TEST(Objectives, LearnWhatTheyAreShown) {
  comm::run_threads(1, [](comm::Communicator& world) {
    const auto transformer = make_transformer(at::kFloat);
    auto adapter = make_adapter(0);
    Reconstruction objective(transformer, adapter, {make_items()[0]}, {.seed = 1, .shift = 3});
    training::Options options;
    options.steps = 60, options.global_batch = 4, options.learning_rate = 5e-3;
    double first = 0, last = 0;
    training::run_steps("learn", options, objective, world, {.record = [&](const training::StepRecord& r) {
                          if (r.step <= 5) first += r.metrics.at("loss");
                          if (r.step > 55) last += r.metrics.at("loss");
                        }});
    EXPECT_LT(last, 0.9 * first);
  });
}

TEST(Objectives, NothingToLearnFromIsAUserError) {
  const auto transformer = make_transformer(at::kFloat);
  auto adapter = make_adapter(0);
  EXPECT_THROW(Reconstruction(transformer, adapter, {}, {.seed = 1, .shift = 3}), base::UserError);
  EXPECT_THROW(Hpo(transformer, {adapter, nullptr}, {}, {}, {.seed = 1, .shift = 7}), base::UserError);
}

}  // namespace
}  // namespace magicid::objectives
