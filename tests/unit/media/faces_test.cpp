// Detectors on the one real photo of the repository, and the rules for references.
#include "media/faces.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/errors.h"
#include "media/alignment.h"
#include "media/image.h"

namespace magicid::media {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::string photo = std::string(MAGICID_SOURCE_DIR) + "/datasets/reference/astronaut.png";

double overlap(const Box& a, const Box& b) {
  const double w = std::min(a.x + a.width, b.x + b.width) - std::max(a.x, b.x), h = std::min(a.y + a.height, b.y + b.height) - std::max(a.y, b.y);
  if (w <= 0 || h <= 0) return 0;
  return w * h / (a.area() + b.area() - w * h);
}

template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "no UserError";
}

class ListedFaces final : public FaceDetector {
 public:
  explicit ListedFaces(std::vector<double> sides) : sides_(std::move(sides)) {}
  std::vector<FaceDetection> detect(const at::Tensor&) override {
    std::vector<FaceDetection> faces;
    for (double side : sides_) faces.push_back({.box = {10, 20, side, side}, .score = 1});
    return faces;
  }
  std::string name() const override { return "listed"; }

 private:
  std::vector<double> sides_;
};

TEST(Faces, HaarFindsExactlyOneFaceOnTheAstronaut) {
  const auto detector = make_face_detector({});
  EXPECT_EQ(detector->name(), "haar");
  const at::Tensor image = read_image(photo);
  const auto faces = detector->detect(image);
  ASSERT_EQ(faces.size(), 1u);
  EXPECT_FALSE(faces[0].landmarks.has_value());
  EXPECT_GT(overlap(faces[0].box, {178, 62, 93, 100}), 0.7);
  // The same face, in the same place, at other sizes and in the video's crop.
  for (const Size size : {Size{256, 256}, Size{128, 128}, Size{1400, 1400}}) {
    const double factor = static_cast<double>(size.width) / 512;
    const auto scaled = detector->detect(resize(image, size));
    ASSERT_EQ(scaled.size(), 1u) << size.width;
    const Box back{scaled[0].box.x / factor, scaled[0].box.y / factor, scaled[0].box.width / factor, scaled[0].box.height / factor};
    EXPECT_GT(overlap(back, faces[0].box), 0.7) << size.width;
  }
  EXPECT_EQ(detector->detect(cover_crop(image, {144, 256}, faces[0].box)).size(), 1u);
  EXPECT_TRUE(detector->detect(at::full({3, 100, 80}, 0.5)).empty());
  EXPECT_TRUE(detector->detect(at::full({3, 1, 1}, 0.5)).empty());
}

TEST(Faces, LargestFaceWithTheGreyRetry) {
  const auto detector = make_face_detector({});
  const at::Tensor image = read_image(photo);
  const auto crop = largest_face_crop(image, *detector);
  ASSERT_TRUE(crop.has_value());
  EXPECT_EQ(crop->sizes(), (std::vector<std::int64_t>{3, 112, 112}));
  EXPECT_FALSE(largest_face_crop(at::full({3, 64, 64}, 0.3), *detector).has_value());

  class OnlyPadded final : public FaceDetector {
   public:
    std::vector<FaceDetection> detect(const at::Tensor& given) override {
      if (given.size(1) == 64) return {};
      FaceDetection face;
      face.box = {0, 0, static_cast<double>(given.size(2)), static_cast<double>(given.size(1))};
      face.whole_image = true;
      return {face};
    }
    std::string name() const override { return "only padded"; }
  } only_padded;
  const auto padded = largest_face_crop(at::ones({3, 64, 64}), only_padded);
  ASSERT_TRUE(padded.has_value());
  EXPECT_EQ((*padded)[0][3][3].item<float>(), 0.5f);    // the grey border of an 80 x 80 canvas
  EXPECT_EQ((*padded)[0][56][56].item<float>(), 1.0f);
}

TEST(Faces, NoneTakesTheWholeImage) {
  const auto detector = make_face_detector({.kind = "none"});
  const FaceDetection face = find_reference_face(at::rand({3, 30, 40}), *detector, "crop.png");
  EXPECT_TRUE(face.whole_image);
  EXPECT_EQ(face.box.width, 40);
  EXPECT_EQ(face.box.height, 30);
}

TEST(Faces, ReferencesShowOneFace) {
  const at::Tensor image = at::zeros({3, 300, 400});
  ListedFaces nobody({}), two({100, 60}), bystander({100, 20});
  EXPECT_THAT(message_of([&] { find_reference_face(image, nobody, "sea.jpg"); }), AllOf(HasSubstr("sea.jpg"), HasSubstr("no face"), HasSubstr("400 x 300"), HasSubstr("listed")));
  EXPECT_THAT(message_of([&] { find_reference_face(image, two, "group.jpg"); }), AllOf(HasSubstr("group.jpg"), HasSubstr("2 faces"), HasSubstr("60 x 60 at (10, 20)"), HasSubstr("face_index")));
  EXPECT_EQ(find_reference_face(image, bystander, "street.jpg").box.width, 100);
  EXPECT_EQ(find_reference_face(image, two, "group.jpg", 1).box.width, 60);
  EXPECT_THAT(message_of([&] { find_reference_face(image, two, "group.jpg", 2); }), AllOf(HasSubstr("group.jpg"), HasSubstr("only 2")));
}

TEST(Faces, TwoFacesInOnePhoto) {
  const at::Tensor image = read_image(photo);
  const auto detector = make_face_detector({});
  const at::Tensor twice = at::cat({image, image}, 2);
  EXPECT_THAT(message_of([&] { find_reference_face(twice, *detector, "twins.png"); }), AllOf(HasSubstr("twins.png"), HasSubstr("2 faces")));
}

TEST(Faces, DetectorsNameTheFileThatTheyRead) {
  EXPECT_EQ(face_detector_file({.kind = "haar"}).filename(), "haarcascade_frontalface_alt2.xml");
  EXPECT_EQ(face_detector_file({.kind = "haar", .file = "other.xml"}), "other.xml");
  EXPECT_EQ(face_detector_file({.kind = "yunet", .file = "yunet.onnx"}), "yunet.onnx");
  EXPECT_EQ(face_detector_file({.kind = "none", .file = "unread"}), "");
  EXPECT_EQ(face_detector_file({.kind = "landmarks", .file = "folder"}), "");
}

TEST(Faces, DetectorFilesThatCannotBeUsed) {
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "yunet", .file = "absent.onnx"}); }), AllOf(HasSubstr("absent.onnx"), HasSubstr("2022mar")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "yunet", .file = photo}); }), AllOf(HasSubstr("astronaut.png"), HasSubstr("OpenCV")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "haar", .file = photo}); }), AllOf(HasSubstr("astronaut.png"), HasSubstr("cascade")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "magic"}); }), HasSubstr("magic"));
}

// YuNet's file is the user's: MAGICID_YUNET=path of face_detection_yunet_2022mar.onnx.
TEST(Faces, YuNetFindsTheAstronautsLandmarks) {
  const char* file = std::getenv("MAGICID_YUNET");
  if (!file || !*file) GTEST_SKIP() << "set MAGICID_YUNET to face_detection_yunet_2022mar.onnx to run this test";
  const auto detector = make_face_detector({.kind = "yunet", .file = file});
  const auto haar = make_face_detector({});
  const at::Tensor image = read_image(photo);
  for (const Size size : {Size{512, 512}, Size{1500, 1500}, Size{333, 333}, Size{100, 100}}) {
    const double factor = static_cast<double>(size.width) / 512;
    const double tolerance = size.width == 100 ? 12 : 5;  // a face of 18 pixels: two of its own
    const at::Tensor scaled = resize(image, size);
    const auto faces = detector->detect(scaled);
    ASSERT_EQ(faces.size(), 1u) << size.width;
    ASSERT_TRUE(faces[0].landmarks.has_value());
    const std::array<Point, 5> expected{{{201.9, 104.1}, {245.1, 103.7}, {221.7, 128.3}, {203.2, 143.4}, {241.8, 143.2}}};
    for (int k = 0; k < 5; ++k) {
      EXPECT_NEAR((*faces[0].landmarks)[k].x / factor, expected[k].x, tolerance) << size.width << " point " << k;
      EXPECT_NEAR((*faces[0].landmarks)[k].y / factor, expected[k].y, tolerance) << size.width << " point " << k;
    }
    // The box alignment of the cascade lands within a few pixels of the landmarks' alignment.
    const auto boxes = haar->detect(scaled);
    ASSERT_EQ(boxes.size(), 1u);
    const Similarity by_landmarks = alignment_of(faces[0]), by_box = alignment_of(boxes[0]);
    double distance = 0;
    for (int k = 0; k < 5; ++k) {
      const Point a = by_landmarks((*faces[0].landmarks)[k]), b = by_box((*faces[0].landmarks)[k]);
      distance += std::hypot(a.x - b.x, a.y - b.y) / 5;
    }
    std::printf("size %d: mean distance of box and landmark alignment %.2f of 112 pixels\n", static_cast<int>(size.width), distance);
    EXPECT_LT(distance, 8) << size.width;
  }
  EXPECT_TRUE(detector->detect(at::full({3, 40, 500}, 0.5)).empty());
  EXPECT_EQ(detector->detect(at::cat({image, image}, 2)).size(), 2u);
}

}  // namespace
}  // namespace magicid::media
