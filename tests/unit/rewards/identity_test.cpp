#include "rewards/identity.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "golden.h"
#include "media/image.h"
#include "rewards/frame_sampling.h"
#include "rewards/semantics.h"

namespace magicid::rewards {
namespace {

// Sees a face, filling the frame, where the frame is brighter than its limit. Remembers how often it was asked.
class BrightFaces final : public media::FaceDetector {
 public:
  std::vector<media::FaceDetection> detect(const at::Tensor& image) override {
    ++calls;
    if (image.max().item<float>() < 0.6f) return {};
    media::FaceDetection face;
    face.box = {0, 0, static_cast<double>(image.size(2)), static_cast<double>(image.size(1))};
    face.whole_image = true;
    return {face};
  }
  std::string name() const override { return "bright"; }
  int calls = 0;
};

// An embedding that tells colours apart: the crop's mean colour.
at::Tensor mean_color(const at::Tensor& faces) { return faces.mean({2, 3}); }

TEST(Identity, SamplesFramesAsNumpyDoes) {
  const auto figures = golden();
  for (const auto& [key, expected] : figures["linspace"].items()) {
    const auto comma = key.find(',');
    EXPECT_EQ(evenly_spaced_frames(std::stoll(key), std::stoll(key.substr(comma + 1))), expected.get<std::vector<std::int64_t>>()) << key;
  }
  EXPECT_EQ(evenly_spaced_frames(3, 16), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(evenly_spaced_frames(16, 16).size(), 16u);
  EXPECT_EQ(evenly_spaced_frames(40, 0).size(), 40u);
  EXPECT_EQ(evenly_spaced_frames(40, 1), (std::vector<std::int64_t>{0}));
}

TEST(Identity, RewardAndMetricMatchTheReference) {
  const auto figures = golden();
  FaceEmbeddings faces{normalise_rows(fraction("frames", {5, 6})).to(at::kFloat), at::tensor({1, 0, 1, 1, 0}, at::kLong).to(at::kBool)};
  const at::Tensor references = fraction("references", {3, 6});
  for (const auto& [aggregation, expected] : figures["identity"].items()) {
    EXPECT_NEAR(identity_reward(faces, references, aggregation), expected["reward"].get<double>(), 1e-6) << aggregation;
    EXPECT_NEAR(face_similarity(faces, references, aggregation), expected["metric"].get<double>(), 1e-6) << aggregation;
  }
  EXPECT_THROW(identity_reward(faces, fraction("references", {3, 5})), base::UserError);
}

TEST(Identity, FramesWithoutFaceCountInTheRewardOnly) {
  at::Tensor frames = at::zeros({4, 3, 24, 24});
  frames[0][0].fill_(1);  // two red faces, two dark frames
  frames[2][0].fill_(1);
  BrightFaces detector;
  const FaceEmbeddings faces = embed_faces(frames, 16, detector, mean_color, /*batch=*/1);
  EXPECT_EQ(detector.calls, 6);  // the dark ones were tried again
  EXPECT_TRUE(at::equal(faces.found, at::tensor({1, 0, 1, 0}, at::kLong).to(at::kBool)));
  const at::Tensor red = at::tensor({2.0, 0.0, 0.0}).reshape({1, 3}), blue = at::tensor({0.0, 0.0, 1.0}).reshape({1, 3});
  EXPECT_NEAR(identity_reward(faces, red), 0.5, 1e-6);
  EXPECT_NEAR(face_similarity(faces, red), 1.0, 1e-6);
  EXPECT_NEAR(identity_reward(faces, blue), 0, 1e-6);  // another identity: no network is asked again
  EXPECT_NEAR(identity_reward(faces, -red), -0.5, 1e-6);
  EXPECT_NEAR(face_similarity(faces, -red), 0, 1e-6);
}

TEST(Identity, NoFaceAtAll) {
  BrightFaces detector;
  const FaceEmbeddings faces = embed_faces(at::full({3, 3, 20, 20}, 0.1), 16, detector, mean_color);
  EXPECT_EQ(faces.embeddings.size(0), 3);
  EXPECT_EQ(identity_reward(faces, at::ones({2, 7})), 0);
  EXPECT_EQ(face_similarity(faces, at::ones({2, 7})), 0);
}

TEST(Identity, BatchesDoNotMatter) {
  BrightFaces detector;
  const at::Tensor frames = at::rand({7, 3, 20, 20});
  const at::Tensor one = embed_faces(frames, 0, detector, mean_color, 1).embeddings;
  EXPECT_LT((embed_faces(frames, 0, detector, mean_color, 3).embeddings - one).abs().max().item<double>(), 1e-6);
  EXPECT_NEAR(one.square().sum(1).min().item<double>(), 1, 1e-5);
}

TEST(Identity, BrokenEmbeddingsShow) {
  BrightFaces detector;
  const auto broken = [](const at::Tensor& faces) { return at::full({faces.size(0), 3}, std::numeric_limits<double>::quiet_NaN()); };
  EXPECT_TRUE(std::isnan(identity_reward(embed_faces(at::ones({2, 3, 20, 20}), 16, detector, broken), at::ones({1, 3}))));
}

TEST(Identity, ARealPhotoResemblesItself) {
  const at::Tensor photo = media::read_image(std::string(MAGICID_SOURCE_DIR) + "/datasets/reference/astronaut.png");
  const auto detector = media::make_face_detector({});
  const auto pixels = [](const at::Tensor& faces) { return (faces - faces.mean({1, 2, 3}, true)).flatten(1); };
  const at::Tensor reference = embed_reference(photo, "astronaut.png", *detector, pixels);
  EXPECT_NEAR(reference.square().sum().item<double>(), 1, 1e-5);
  const FaceEmbeddings same = embed_faces(at::stack({photo, at::zeros_like(photo)}), 16, *detector, pixels);
  EXPECT_NEAR(identity_reward(same, reference.unsqueeze(0)), 0.5, 1e-4);
  EXPECT_NEAR(face_similarity(same, reference.unsqueeze(0)), 1, 1e-4);
}

}  // namespace
}  // namespace magicid::rewards
