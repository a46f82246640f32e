// From frames to rewards and metrics in one go.
#include "rewards/features.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"

namespace magicid::rewards {
namespace {

Models color_models() {
  return {.face = [](const at::Tensor& faces) { return faces.mean({2, 3}); },
          .image = [](const at::Tensor& frames) { return frames.mean({2, 3}); },
          .flow = [](const at::Tensor& first, const at::Tensor& second) { return (second - first).narrow(1, 0, 2) * 10; }};
}

// One pixel to the right, or to the left: whichever brings the first picture onto the second.
at::Tensor one_pixel_flow(const at::Tensor& first, const at::Tensor& second) {
  at::Tensor flow = at::zeros({first.size(0), 2, first.size(2), first.size(3)});
  for (std::int64_t i = 0; i < first.size(0); ++i) {
    const auto misfit = [&](int shift) { return (first[i].roll(shift, 2) - second[i]).abs().sum().item<double>(); };
    flow[i][0].fill_(misfit(1) < misfit(-1) ? 1 : -1);
  }
  return flow;
}

TEST(Features, RewardsOfAVideo) {
  const auto detector = media::make_face_detector({.kind = "none"});
  at::manual_seed(1);
  const at::Tensor picture = at::rand({16, 16});
  at::Tensor frames = at::zeros({9, 3, 16, 16});
  for (int f = 0; f < 9; ++f) frames[f][0].copy_(picture.roll(f, 1));  // red, moving to the right
  const Options options;
  Models models = color_models();
  models.flow = one_pixel_flow;
  const VideoFeatures features = measure_video(frames, 8, models, *detector, options, {.every_frame = true});
  const at::Tensor red = at::tensor({1.0, 0.0, 0.0}), diagonal = at::tensor({1.0, 1.0, 0.0});
  const Rewards rewards = raw_rewards(features, red.unsqueeze(0), diagonal, options);
  EXPECT_NEAR(rewards.identity, 1, 1e-6);
  EXPECT_NEAR(rewards.dynamics, 1, 1e-5);
  EXPECT_NEAR(rewards.semantics, std::sqrt(0.5), 1e-6);
  const Metrics metrics = evaluate_video(features, red.unsqueeze(0), diagonal, red.unsqueeze(0), options);
  EXPECT_NEAR(metrics.face_similarity, 1, 1e-6);
  EXPECT_NEAR(metrics.dynamic_degree, 1, 1e-5);
  EXPECT_NEAR(metrics.temporal_consistency, 1, 1e-6);
  EXPECT_NEAR(metrics.semantics, std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(metrics.clip_text, 100 * std::sqrt(0.5), 1e-4);
  EXPECT_NEAR(metrics.clip_image, 100, 1e-4);
  EXPECT_EQ(metrics.frames_with_face, 9);
  EXPECT_TRUE(metrics.dynamic);  // 1 px is above 6 * 16 / 256
}

// Red that grows brighter: the network calls it motion. Evaluation says what VBench would, the reward counts nothing, and a picture of one colour is no face.
TEST(Features, BrightnessIsNeitherMotionNorAFace) {
  const auto detector = media::make_face_detector({.kind = "none"});
  at::Tensor frames = at::zeros({9, 3, 16, 16});
  for (int f = 0; f < 9; ++f) frames[f][0].fill_(0.1 * (f + 1));
  const Options options;
  const at::Tensor red = at::tensor({1.0, 0.0, 0.0});
  const VideoFeatures features = measure_video(frames, 8, color_models(), *detector, options, {.every_frame = true});
  EXPECT_NEAR(evaluate_video(features, red.unsqueeze(0), red, red.unsqueeze(0), options).dynamic_degree, 1, 1e-5);
  const Rewards rewards = raw_rewards(features, red.unsqueeze(0), red, options);
  EXPECT_EQ(rewards.dynamics, 0);
  EXPECT_EQ(rewards.identity, 0);
  const VideoFeatures evaluated = measure_video(frames, 8, color_models(), *detector, options, {.motion_reward = false});
  EXPECT_TRUE(std::isnan(evaluated.dynamics.reward));
  EXPECT_EQ(evaluated.dynamics.score, features.dynamics.score);
}

// A network that sees where its picture is bright, so that a grid and its frames differ.
TEST(Features, SemanticRewardOfAGridOfFrames) {
  const auto detector = media::make_face_detector({.kind = "none"});
  Models models = color_models();
  models.image = [](const at::Tensor& pictures) { return at::adaptive_avg_pool2d(pictures.narrow(1, 0, 1), {2, 2}).flatten(1); };
  at::Tensor frames = at::zeros({8, 3, 16, 16});
  frames.narrow(0, 6, 2).fill_(1);  // only the end is bright
  const at::Tensor text = at::tensor({0.0, 0.0, 0.0, 1.0}), face = at::ones({1, 3});
  Options options;
  const double alone = raw_rewards(measure_video(frames, 8, models, *detector, options), face, text, options).semantics;
  options.semantic_input = "grid";
  options.semantic_grid = 2;
  const VideoFeatures grid = measure_video(frames, 8, models, *detector, options);
  EXPECT_NEAR(raw_rewards(grid, face, text, options).semantics, 1, 1e-6);
  EXPECT_NEAR(alone, 0.5 * 2 / 8, 1e-6);  // a bright frame is so everywhere, a dark one nowhere
  EXPECT_FALSE(grid.images.defined());
  // The metrics stay those of single frames.
  const VideoFeatures both = measure_video(frames, 8, models, *detector, options, {.every_frame = true});
  EXPECT_EQ(both.images.size(0), 8);
  EXPECT_EQ(both.semantics.size(0), 1);
  const Metrics metrics = evaluate_video(both, face, text, at::ones({1, 4}), options);
  EXPECT_NEAR(metrics.semantics, 1, 1e-6);
  EXPECT_NEAR(metrics.clip_text, 100 * alone, 1e-4);
}

TEST(Features, MissingNetworksLeaveTheirPartEmpty) {
  const auto detector = media::make_face_detector({.kind = "none"});
  Models models = color_models();
  models.image = nullptr;
  const VideoFeatures features = measure_video(at::rand({4, 3, 8, 8}), 8, models, *detector, {});
  EXPECT_FALSE(features.images.defined());
  EXPECT_EQ(features.dynamics.pair_scores.size(), 3u);
  EXPECT_THROW(raw_rewards(features, at::ones({1, 3}), at::ones({3}), {}), base::InvariantError);
}

TEST(Features, SampledFeaturesAreNotTakenForConsecutiveOnes) {
  const auto detector = media::make_face_detector({.kind = "none"});
  const VideoFeatures features = measure_video(at::rand({20, 3, 8, 8}), 8, color_models(), *detector, {});
  EXPECT_EQ(features.images.size(0), 16);
  EXPECT_THROW(evaluate_video(features, at::ones({1, 3}), at::ones({3}), at::ones({1, 3}), {}), base::InvariantError);
}

}  // namespace
}  // namespace magicid::rewards
