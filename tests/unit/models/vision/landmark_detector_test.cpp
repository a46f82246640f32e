// The landmark detector: geometry of the square, points as means of heatmaps, and its folder.
#include "models/vision/landmark_detector.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/errors.h"
#include "models/vision/initial_networks.h"
#include "smooth_images.h"
#include "storage/safetensors.h"

namespace magicid::models::vision {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const LandmarkDetectorConfig config{.image_size = 64, .border = 4, .channels = {6, 8, 10}};

LandmarkDetector network_of(const storage::NamedTensors& tensors) {
  return LandmarkDetector::from_weights(nn::Weights::from_tensors(tensors, "test", {}), config);
}

// Centre of brightness of a picture's first channel, in pixel indices.
std::pair<double, double> centre_of(const at::Tensor& picture) {
  const at::Tensor weight = picture[0] / picture[0].sum();
  return {(weight.sum(0) * at::arange(picture.size(2))).sum().item<double>(), (weight.sum(1) * at::arange(picture.size(1))).sum().item<double>()};
}

TEST(Letterbox, MapsPositionsAsItMapsThePicture) {
  for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{48, 48}, {96, 64}, {30, 90}, {211, 173}}) {
    SCOPED_TRACE(height * 1000 + width);
    at::Tensor picture = at::zeros({3, height, width});
    const std::int64_t y = height / 3, x = width / 2 + 4, size = std::max<std::int64_t>(height / 12, 3);
    picture.narrow(1, y, size).narrow(2, x, size).fill_(1);
    const auto box = letterbox(picture, config);
    ASSERT_EQ(box.square.sizes(), (std::vector<std::int64_t>{3, 64, 64}));
    // Zero outside of the picture, so the blob alone weighs: its black surroundings are -1.
    const auto black = letterbox(at::zeros_like(picture), config);
    const auto [cx, cy] = centre_of(box.square - black.square);
    const auto [px, py] = centre_of(picture);
    EXPECT_NEAR(cx, px * box.scale_x + box.shift_x, 0.05);
    EXPECT_NEAR(cy, py * box.scale_y + box.shift_y, 0.05);
    EXPECT_EQ(black.square.slice(1, 0, 4).abs().max().item<double>(), 0);
    EXPECT_EQ(black.square.slice(2, 60, 64).abs().max().item<double>(), 0);
    EXPECT_EQ(black.square.min().item<double>(), -1);
  }
}

TEST(LandmarkDetector, PointsAreMeansOfHeatmaps) {
  const auto network = network_of(initial_landmark_detector(config, 3).tensors);
  const auto output = network(tests::smooth_images("landmarks", 2, 64, 64, 9));
  ASSERT_EQ(output.score.sizes(), (std::vector<std::int64_t>{2}));
  ASSERT_EQ(output.heatmaps.sizes(), (std::vector<std::int64_t>{2, 7, 32, 32}));
  ASSERT_EQ(output.points.sizes(), (std::vector<std::int64_t>{2, 7, 2}));
  const at::Tensor weight = at::softmax(output.heatmaps[1][4].flatten(), 0).view({32, 32}).contiguous();
  double x = 0, y = 0;
  for (std::int64_t row = 0; row < 32; ++row)
    for (std::int64_t column = 0; column < 32; ++column) {
      const double w = weight[row][column].item<double>();
      x += w * (2.0 * static_cast<double>(column) + 0.5), y += w * (2.0 * static_cast<double>(row) + 0.5);
    }
  EXPECT_NEAR(output.points[1][4][0].item<double>(), x, 1e-3);
  EXPECT_NEAR(output.points[1][4][1].item<double>(), y, 1e-3);
  EXPECT_THROW(network(at::zeros({1, 3, 48, 48})), base::InvariantError);
}

TEST(LandmarkDetector, SeesThePartsOfItsPicture) {
  auto tensors = initial_landmark_detector(config, 3).tensors;
  tensors["heat.weight"].mul_(30);
  const auto network = network_of(tensors);
  const at::Tensor a = tests::smooth_images("landmarks", 1, 64, 64, 9);
  at::Tensor b = a.clone();
  b.narrow(3, 40, 12).add_(1);
  const auto one = network(a), two = network(b);
  EXPECT_GT((one.points - two.points).abs().max().item<double>(), 0.05);
  EXPECT_NE(one.score.item<double>(), two.score.item<double>());
}

TEST(LandmarkDetector, LoadsItsFolderAndReportsWhatIsWrong) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / "magicid_landmarks";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto write_config = [&](const std::string& text) { std::ofstream(folder / "config.json") << text; };
  const auto load = [&] { return LandmarkDetector::load(folder, {}); };
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("config.json")));
  const auto initial = initial_landmark_detector(config, 3);
  storage::write_safetensors(folder / "model.safetensors", initial.tensors);
  write_config(initial.config);
  const at::Tensor picture = tests::smooth_images("landmarks", 1, 64, 64, 9);
  EXPECT_TRUE(at::equal(load()(picture).points, network_of(initial.tensors)(picture).points));
  write_config(R"({"architecture": "landmark_detector"})");
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("down.0.weight")));
  write_config(R"({"architecture": "landmark_detector", "image_size": 60})");
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("image_size")));
  write_config(R"({"architecture": "landmark_detector", "channels": [1, 2]})");
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("channels")));
  write_config(R"({"architecture": "landmark_detector", "border": -1})");
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("border")));
  write_config(R"({"architecture": "yunet"})");
  EXPECT_THAT([&] { load(); }, ThrowsMessage<base::UserError>(HasSubstr("landmark_detector")));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace magicid::models::vision
