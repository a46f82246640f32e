// The landmark detector behind the face detector's interface: a network whose heatmaps are set by hand finds what they say.
#include "rewards/landmark_faces.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "models/vision/initial_networks.h"

namespace magicid::rewards {
namespace {

using models::vision::LandmarkDetector;
using models::vision::LandmarkDetectorConfig;

// A network that passes the red channel's brightness on to one heatmap only shows where it is brightest; the other points have flat heatmaps and
// stand in the middle of the square.
std::shared_ptr<LandmarkDetector> follower(double score, std::int64_t point) {
  const LandmarkDetectorConfig config{.image_size = 64, .border = 4, .channels = {2, 2, 2}};
  auto tensors = models::vision::initial_landmark_detector(config, 1).tensors;
  for (auto& [name, tensor] : tensors) tensor.zero_();
  // Red, brightest of each 2 x 2 pixels' corner, and on through both convolutions at 1/2; nothing comes up from below.
  tensors["down.0.weight"][0][0][1][1] = 1;
  tensors["down.1.weight"][0][0][1][1] = 1;
  tensors["merge2.weight"][0][0][1][1] = 1;
  tensors["heat.weight"][point][0][0][0] = 40;
  tensors["score.bias"].fill_(score);
  return std::make_shared<LandmarkDetector>(LandmarkDetector::from_weights(models::nn::Weights::from_tensors(tensors, "test", {}), config));
}

TEST(LandmarkFaces, PointsAreThoseOfThePictureThatWasGiven) {
  for (const std::int64_t size : {56, 112}) {
    SCOPED_TRACE(size);
    at::Tensor picture = at::zeros({3, size, size});
    const std::int64_t unit = size / 56;
    // Two cells of the heatmap wide and high, right of and below the middle.
    picture.narrow(1, 40 * unit, 4 * unit).narrow(2, 32 * unit, 4 * unit).fill_(1);
    const auto faces = landmark_face_detector(follower(3, 6), 0.6)->detect(picture);
    ASSERT_EQ(faces.size(), 1u);
    EXPECT_NEAR(faces[0].score, 1 / (1 + std::exp(-3.0)), 1e-6);
    // The square's middle is the picture's; the lower right corner is the middle of the bright cells, less exactly where shrinking blurs them.
    const double middle = (static_cast<double>(size) - 1) / 2, u = static_cast<double>(unit);
    EXPECT_NEAR((*faces[0].landmarks)[2].x, middle, 1e-3);
    EXPECT_NEAR((*faces[0].landmarks)[2].y, middle, 1e-3);
    EXPECT_FALSE(faces[0].whole_image);
    EXPECT_NEAR(faces[0].box.x, middle + 0.5, 1e-3);
    EXPECT_NEAR(faces[0].box.x + faces[0].box.width, 34 * u, unit == 1 ? 1e-2 : 1.2 * u);
    EXPECT_NEAR(faces[0].box.y + faces[0].box.height, 42 * u, unit == 1 ? 1e-2 : 1.2 * u);
    // Above the upper left corner: no box, so no face there.
    picture = picture.roll({-24 * unit, 0}, {1, 2});
    EXPECT_TRUE(landmark_face_detector(follower(3, 6), 0.6)->detect(picture).empty());
  }
}

TEST(LandmarkFaces, ScoresBelowTheThresholdFindNothing) {
  const at::Tensor picture = at::zeros({3, 56, 56});
  const auto found = [&](double logit, double threshold) {
    at::Tensor bright = picture.clone();
    bright.narrow(1, 40, 4).narrow(2, 40, 4).fill_(1);
    return landmark_face_detector(follower(logit, 6), threshold)->detect(bright).size();
  };
  EXPECT_EQ(found(0.5, 0.6), 1u);  // 0.62
  EXPECT_EQ(found(0.3, 0.6), 0u);  // 0.57
  EXPECT_EQ(found(0.3, 0.5), 1u);
  EXPECT_EQ(found(std::numeric_limits<double>::quiet_NaN(), 0.0), 0u);
}

}  // namespace
}  // namespace magicid::rewards
