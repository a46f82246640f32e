#include "rewards/semantics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "golden.h"

namespace magicid::rewards {
namespace {

TEST(Semantics, MetricsMatchTheReference) {
  const auto figures = golden();
  const at::Tensor frames = fraction("frames", {5, 6}), references = fraction("references", {3, 6}), text = fraction("text", {6});
  EXPECT_NEAR(clip_text_score(frames, text), figures["clip_text"].get<double>(), 1e-9);
  EXPECT_NEAR(semantic_reward(frames, 3 * text), figures["clip_text"].get<double>() / 100, 1e-9);
  EXPECT_NEAR(clip_image_score(frames, references), figures["clip_image"].get<double>(), 1e-9);
  EXPECT_NEAR(temporal_consistency(frames), figures["temporal_consistency"].get<double>(), 1e-9);
  EXPECT_EQ(temporal_consistency(frames.narrow(0, 0, 1)), 1);
  EXPECT_THROW(semantic_reward(frames, fraction("text", {5})), base::InvariantError);
}

TEST(Semantics, FeaturesOfSampledFramesInAnyBatch) {
  const at::Tensor frames = at::rand({21, 3, 4, 4});
  std::int64_t largest = 0;
  const auto network = [&](const at::Tensor& batch) {
    largest = std::max(largest, batch.size(0));
    return batch.flatten(1);
  };
  const at::Tensor features = image_features(frames, 5, network, 2);
  EXPECT_EQ(largest, 2);
  ASSERT_EQ(features.sizes(), (std::vector<std::int64_t>{5, 48}));
  const at::Tensor expected = normalise_rows(frames.index_select(0, at::tensor({0, 5, 10, 15, 20}, at::kLong)).flatten(1));
  EXPECT_LT((features - expected).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(image_features(frames, 0, network, 8).size(0), 21);
}

TEST(Semantics, TiledFramesStandInReadingOrder) {
  at::Tensor frames = at::zeros({13, 3, 2, 3});
  for (int f = 0; f < 13; ++f) frames[f].fill_(f);
  frames[12][1][1][2] = 99;  // green, the lower right pixel of the last frame
  const at::Tensor picture = tile_frames(frames, 2);
  ASSERT_EQ(picture.sizes(), (std::vector<std::int64_t>{3, 4, 6}));
  EXPECT_EQ(picture[0][0][0].item<float>(), 0);
  EXPECT_EQ(picture[0][1][5].item<float>(), 4);
  EXPECT_EQ(picture[0][2][0].item<float>(), 8);
  EXPECT_EQ(picture[0][3][5].item<float>(), 12);
  EXPECT_EQ(picture[1][3][5].item<float>(), 99);
  // Too few frames: the last one again.
  const at::Tensor few = tile_frames(frames.narrow(0, 0, 3), 2);
  EXPECT_EQ(few[0][0][3].item<float>(), 1);
  EXPECT_EQ(few[0][2][0].item<float>(), 2);
  EXPECT_EQ(few[0][2][3].item<float>(), 2);
  EXPECT_THROW(tile_frames(frames, 0), base::InvariantError);
}

TEST(Semantics, NormalisedRowsKeepZeroAndNaN) {
  const at::Tensor rows = at::tensor({0.0, 0.0, 3.0, 4.0, std::nan(""), 1.0}).reshape({3, 2});
  const at::Tensor unit = normalise_rows(rows);
  EXPECT_EQ(unit[0].abs().sum().item<double>(), 0);
  EXPECT_NEAR(unit[1][1].item<double>(), 0.8, 1e-7);
  EXPECT_TRUE(unit[2].isnan().any().item<bool>());
}

}  // namespace
}  // namespace magicid::rewards
