// Umeyama's fit and the warp against NumPy (tests/reference/make_media.py).
#include "media/alignment.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "storage/safetensors.h"
#include "support/formula_weights.h"

namespace magicid::media {
namespace {

std::array<Point, 5> points_of(const at::Tensor& tensor) {
  std::array<Point, 5> points;
  for (int i = 0; i < 5; ++i) points[i] = {tensor[i][0].item<double>(), tensor[i][1].item<double>()};
  return points;
}

TEST(Alignment, MatchesTheReference) {
  const auto file = storage::SafetensorsFile::open(std::string(MAGICID_TEST_DATA) + "/media/alignment.safetensors");
  const at::Tensor image = file.at("image");
  for (int index = 0; index < 5; ++index) {
    const std::string suffix = std::to_string(index);
    FaceDetection face;
    face.landmarks = points_of(file.at("landmarks_" + suffix));
    const Similarity fit = alignment_of(face);
    const at::Tensor matrix = at::tensor({fit.a, -fit.b, fit.tx, fit.b, fit.a, fit.ty}, at::kDouble).reshape({2, 3});
    EXPECT_LT(tests::relative_error(matrix, file.at("matrix_" + suffix)), 1e-12) << index;
    const at::Tensor crop = align_face(image, face);
    ASSERT_EQ(crop.sizes(), (std::vector<std::int64_t>{3, 112, 112}));
    // The image's values change by up to 1 from pixel to pixel, so float32 coordinates near 100 leave some 1e-5.
    EXPECT_LT(tests::relative_error(crop.slice(1, 0, 112, 6).slice(2, 0, 112, 6), file.at("crop_" + suffix)), 1e-4) << index;
  }
}

TEST(Alignment, InverseUndoesTheMap) {
  const Similarity map{0.7, -0.3, 12, -5}, back = map.inverse();
  const Point p = back(map({31, 17}));
  EXPECT_NEAR(p.x, 31, 1e-12);
  EXPECT_NEAR(p.y, 17, 1e-12);
  EXPECT_NEAR(back.scale() * map.scale(), 1, 1e-12);
  const std::array<Point, 2> same{Point{1, 1}, Point{1, 1}};
  EXPECT_THROW(fit_similarity(same, same), base::InvariantError);
}

TEST(Alignment, BoxGoesToTheTemplatesFaceBox) {
  FaceDetection face;
  face.box = {100, 40, 60, 60};
  const Similarity map = alignment_of(face);
  const Point center = map({129.5, 69.5});
  EXPECT_NEAR(center.x, template_box_center.x, 1e-9);
  EXPECT_NEAR(center.y, template_box_center.y, 1e-9);
  EXPECT_NEAR(60 * map.scale(), template_box_side, 1e-9);
  EXPECT_EQ(map.b, 0);
}

TEST(Alignment, WholeImageFillsTheCrop) {
  const at::Tensor image = at::rand({3, 112, 112});
  FaceDetection face;
  face.box = {0, 0, 112, 112};
  face.whole_image = true;
  EXPECT_LT((align_face(image, face) - image).abs().max().item<double>(), 1e-4);
  // The centre square of another shape, at another size.
  const at::Tensor wide = at::cat({at::zeros({3, 112, 30}), image, at::zeros({3, 112, 30})}, 2);
  face.box = {0, 0, 172, 112};
  EXPECT_LT((align_face(wide, face) - image).abs().max().item<double>(), 1e-4);
  EXPECT_EQ(align_face(wide, face, 56).sizes(), (std::vector<std::int64_t>{3, 56, 56}));
}

TEST(Alignment, LargeFacesAreAveragedNotSampled) {
  // A fine chequerboard has a mean of one half; sampling every 8th pixel would see one colour.
  const at::Tensor index = at::arange(896, at::kLong);
  const at::Tensor board = ((index.unsqueeze(0) + index.unsqueeze(1)) % 2).to(at::kFloat).expand({3, 896, 896}).contiguous();
  FaceDetection face;
  face.box = {0, 0, 896, 896};
  face.whole_image = true;
  const at::Tensor crop = align_face(board, face);
  EXPECT_LT((crop - 0.5).abs().max().item<double>(), 1e-4);
  // The averaging shifts nothing: a ramp stays the same ramp.
  const at::Tensor ramp = (index.to(at::kFloat) / 895).expand({3, 896, 896}).contiguous();
  const at::Tensor small = align_face(ramp, face)[0][50];
  for (int x : {10, 55, 100}) EXPECT_NEAR(small[x].item<float>(), (8 * x + 3.5) / 895, 1e-4);
}

TEST(Alignment, IsDifferentiable) {
  at::Tensor image = at::rand({3, 40, 40}).set_requires_grad(true);
  FaceDetection face;
  face.box = {5, 5, 30, 30};
  align_face(image, face).sum().backward();
  EXPECT_GT(image.grad().abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace magicid::media
