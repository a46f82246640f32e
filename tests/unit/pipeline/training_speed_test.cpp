#include "pipeline/training_speed.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>

#include "models/hunyuan_video/cost.h"

namespace magicid::pipeline {
namespace {

using models::generator::Recompute;
using models::generator::TokenCounts;
using models::hunyuan_video::HunyuanVideoCost;

const models::generator::AdapterSize adapter{.lora_rank = 4, .targets = {}};

std::shared_ptr<const HunyuanVideoCost> small() {
  models::hunyuan_video::TransformerConfig config;
  config.num_attention_heads = 2;
  config.attention_head_dim = 16;
  config.num_layers = 1;
  config.num_single_layers = 1;
  return std::make_shared<HunyuanVideoCost>(config);
}

models::generator::Condition prompt(std::int64_t tokens, std::int64_t padding) {
  return {{{"prompt_embeds", at::zeros({1, tokens + padding, 8})},
           {"pooled_prompt_embeds", at::zeros({1, 8})},
           {"prompt_attention_mask", at::cat({at::ones({1, tokens}, at::kLong), at::zeros({1, padding}, at::kLong)}, 1)}}};
}

TEST(Speed, TokensAreThoseThatTheTransformerSees) {
  const WorkCounter counter(small(), adapter, Recompute::none);
  const auto tokens = counter.tokens_of(at::zeros({1, 16, 3, 8, 12}), prompt(5, 11));
  EXPECT_EQ(tokens.video, 3 * 4 * 6);
  EXPECT_EQ(tokens.text, 5);
}

TEST(Speed, TrainingCountsForwardBackwardAndWhatIsComputedAgain) {
  const TokenCounts tokens{.video = 72, .text = 5};
  const auto share = small()->largest_share(tokens, 1);
  const double forward = small()->forward_flops(share, &adapter).total();
  WorkCounter plain(small(), adapter, Recompute::none), kept(small(), adapter, Recompute::attention_kept), full(small(), adapter, Recompute::full);
  EXPECT_EQ(plain.trained(tokens).tokens, 77);
  EXPECT_DOUBLE_EQ(plain.trained(tokens).model, forward + small()->backward_flops(share, adapter, false).total());
  EXPECT_DOUBLE_EQ(plain.trained(tokens).executed, forward + small()->backward_flops(share, adapter, true).total());
  // What is computed again is executed, and no operation of the model.
  EXPECT_EQ(full.trained(tokens).model, plain.trained(tokens).model);
  EXPECT_GT(kept.trained(tokens).executed, plain.trained(tokens).executed);
  EXPECT_GT(full.trained(tokens).executed, kept.trained(tokens).executed);
  EXPECT_DOUBLE_EQ(full.trained(tokens).executed - plain.trained(tokens).executed, small()->recomputed_flops(share, adapter, Recompute::full).total());
}

TEST(Speed, APredictionIsAForwardWithoutTokens) {
  const TokenCounts tokens{.video = 72, .text = 5};
  WorkCounter counter(small(), adapter, Recompute::full);
  EXPECT_EQ(counter.predicted(tokens, true).tokens, 0);
  EXPECT_DOUBLE_EQ(counter.predicted(tokens, true).executed, small()->forward_flops(small()->largest_share(tokens, 1), &adapter).total());
  EXPECT_LT(counter.predicted(tokens, false).executed, counter.predicted(tokens, true).executed);
}

TEST(Speed, FiguresAreOfTheStepsWorkOverItsTime) {
  training::StepHooks hooks;
  training::StepRecord recorded;
  hooks.record = [&](const training::StepRecord& done) { recorded = done; };
  std::int64_t asked = -1;
  const auto work = [&](const training::StepRecord& of) {
    asked = of.step;
    return TrainingWork{.tokens = 300, .executed = 8e12, .model = 6e12};
  };
  const training::StepRecord done{.step = 7, .metrics = {{"loss", 0.5}, {"step_seconds", 2.0}}};
  with_speed(hooks, work, 12e12).record(done);
  EXPECT_EQ(asked, 7);
  EXPECT_EQ(recorded.metrics,
            (std::map<std::string, double>{{"loss", 0.5}, {"step_seconds", 2.0}, {"tokens_per_second", 150}, {"flops_per_second", 4e12}, {"mfu", 0.25}}));
  with_speed(hooks, work, std::nullopt).record(done);
  EXPECT_FALSE(recorded.metrics.contains("mfu"));
  EXPECT_TRUE(speed_metrics({.tokens = 1, .executed = 1, .model = 1}, 0, 1.0).empty());
}

}  // namespace
}  // namespace magicid::pipeline
