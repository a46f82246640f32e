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
  at::Tensor white = at::ones({3, 64, 64});
  white.narrow(1, 0, 8).fill_(0);  // and black above: a picture of one colour shows no face
  const auto padded = largest_face_crop(white, only_padded);
  ASSERT_TRUE(padded.has_value());
  EXPECT_EQ((*padded)[0][3][3].item<float>(), 0.5f);  // the grey border of an 80 x 80 canvas
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
  EXPECT_THAT(message_of([&] { find_reference_face(image, nobody, "sea.jpg"); }),
              AllOf(HasSubstr("sea.jpg"), HasSubstr("no face"), HasSubstr("400 x 300"), HasSubstr("listed")));
  EXPECT_THAT(message_of([&] { find_reference_face(image, two, "group.jpg"); }),
              AllOf(HasSubstr("group.jpg"), HasSubstr("2 faces"), HasSubstr("60 x 60 at (10, 20)"), HasSubstr("face_index")));
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

// YuNet's file is the user's: MAGICID_YUNET=path of face_detection_yunet_2022mar.onnx, or data/yunet in a folder "shared" beside the sources.
std::string yunet_file() {
  if (const char* file = std::getenv("MAGICID_YUNET"); file && *file) return file;
  const std::filesystem::path beside = std::filesystem::path(MAGICID_SOURCE_DIR).parent_path() / "shared/data/yunet/face_detection_yunet_2022mar.onnx";
  return std::filesystem::exists(beside) ? beside.string() : "";
}

// A network that sees a face everywhere, with a given score.
class FacesEverywhere final : public FaceDetector {
 public:
  std::vector<FaceDetection> detect(const at::Tensor& image) override {
    return {{.box = {-5, -5, static_cast<double>(image.size(2)) * 0.8, static_cast<double>(image.size(1)) * 0.8}, .score = 0.99}};
  }
  std::string name() const override { return "everywhere"; }
};

TEST(Faces, AFaceWithoutTextureIsNone) {
  const at::Tensor image = read_image(photo), noise = at::randn({3, 480, 848});
  const std::vector<std::pair<const char*, at::Tensor>> empty{{"black", at::zeros({3, 480, 848})},
                                                              {"one colour", at::tensor({0.9, 0.4, 0.1}).view({3, 1, 1}).expand({3, 480, 848})},
                                                              {"black with noise", (noise * 0.02).clamp(0, 1)},
                                                              {"grey with noise", (noise * 0.1 + 0.5).clamp(0, 1)}};
  const auto everywhere = only_with_texture(std::make_unique<FacesEverywhere>());
  const auto none = make_face_detector({.kind = "none"}), haar = make_face_detector({});
  for (const auto& [name, picture] : empty)
    for (FaceDetector* detector : {everywhere.get(), none.get(), haar.get()}) {
      EXPECT_TRUE(detector->detect(picture).empty()) << name << ", " << detector->name();
      EXPECT_FALSE(largest_face_crop(picture, *detector).has_value()) << name << ", " << detector->name();  // the grey border is no texture
      EXPECT_THAT(message_of([&] { find_reference_face(picture, *detector, name); }), HasSubstr("no face")) << name;
    }
  for (const double light : {1.0, 0.3, 0.1, 0.05}) {
    EXPECT_EQ(everywhere->detect(image * light).size(), 1u) << light;
    EXPECT_EQ(none->detect(image * light).size(), 1u) << light;
  }
  EXPECT_EQ(everywhere->name(), "everywhere");
}

TEST(Faces, TightCropsOfAPhotoAreFoundInsideAGreyBorder) {
  const at::Tensor image = read_image(photo);
  const auto detector = make_face_detector({});
  const Box box = detector->detect(image).at(0).box;
  for (const double cut : {0.0, 0.05, 0.1, 0.15, 0.2})
    for (const double scale : {1.0, 2.0, 4.0}) {
      const Window window{std::lround(box.x + cut * box.width), std::lround(box.y + cut * box.height), std::lround(box.width * (1 - 2 * cut)),
                          std::lround(box.height * (1 - 2 * cut))};
      at::Tensor crop = crop_edge_padded(image, window);
      const auto scaled = [&](std::int64_t side) { return static_cast<std::int64_t>(static_cast<double>(side) * scale); };
      crop = resize(crop, Size{scaled(crop.size(1)), scaled(crop.size(2))});
      FaceDetection face;
      EXPECT_EQ(message_of([&] { face = find_reference_face(crop, *detector, "crop.png"); }), "no UserError") << cut << " x " << scale;
      // The same face, in the crop's own coordinates.
      const Box back{face.box.x / scale + static_cast<double>(window.x), face.box.y / scale + static_cast<double>(window.y), face.box.width / scale,
                     face.box.height / scale};
      EXPECT_GT(overlap(back, box), 0.5) << cut << " x " << scale;
    }
  const std::string message = message_of([&] { find_reference_face(image.slice(1, 200), *detector, "sky.jpg"); });
  EXPECT_THAT(message, AllOf(HasSubstr("sky.jpg"), HasSubstr("no face"), HasSubstr("grey border"), testing::Not(HasSubstr("none"))));
}

TEST(Faces, ThresholdsOfTheKinds) {
  EXPECT_EQ(score_threshold_of({.kind = "yunet"}), 0.9);
  EXPECT_EQ(score_threshold_of({.kind = "landmarks"}), 0.6);
  EXPECT_EQ(score_threshold_of({.kind = "yunet", .score_threshold = 0.7}), 0.7);
  EXPECT_EQ(score_threshold_of({.kind = "yunet", .score_threshold = 0}), 0);
}

// The measurement behind YuNet's threshold: its scores of the photo's face, made worse in many ways, and of pictures that show nobody.
// --gtest_filter=Faces.YuNetsScores prints them.
TEST(Faces, YuNetsScores) {
  const std::string file = yunet_file();
  if (file.empty()) GTEST_SKIP() << "set MAGICID_YUNET to face_detection_yunet_2022mar.onnx to run this test";
  const auto all = make_face_detector({.kind = "yunet", .file = file, .score_threshold = 0.3}), chosen = make_face_detector({.kind = "yunet", .file = file});
  const auto best = [&](const at::Tensor& picture) {
    double score = 0;
    for (const auto& face : all->detect(picture)) score = std::max(score, face.score);
    return score;
  };
  at::manual_seed(1);
  const at::Tensor image = read_image(photo);
  const auto inside = [](const at::Tensor& small) {
    at::Tensor frame = at::full({3, 480, 848}, 0.5);
    frame.narrow(1, (480 - small.size(1)) / 2, small.size(1)).narrow(2, (848 - small.size(2)) / 2, small.size(2)).copy_(small);
    return frame;
  };
  std::vector<std::pair<std::string, at::Tensor>> faces, nobody;
  for (const std::int64_t side : {512, 256, 128, 64}) faces.emplace_back("photo of " + std::to_string(side) + " pixels", resize(image, Size{side, side}));
  for (const std::int64_t side : {400, 200, 128, 100, 80})
    faces.emplace_back("photo of " + std::to_string(side) + " pixels in a frame", inside(resize(image, Size{side, side})));
  for (const double light : {0.3, 0.1}) faces.emplace_back("light " + std::to_string(light), image * light);
  for (const std::int64_t side : {96, 64}) faces.emplace_back("blurred to " + std::to_string(side), resize(resize(image, Size{side, side}), Size{512, 512}));
  faces.emplace_back("JPEG of quality 10", decode_image(encode_jpeg(image, 10), "memory"));
  faces.emplace_back("noise 0.1", (image + 0.1 * at::randn_like(image)).clamp(0, 1));
  faces.emplace_back("mirrored", image.flip({2}));
  for (const auto& [name, size] : {std::pair{"48 x 48", Size{48, 48}}, std::pair{"480 x 848", Size{480, 848}}, std::pair{"1280 x 720", Size{1280, 720}}}) {
    nobody.emplace_back(std::string("black, ") + name, at::zeros({3, size.height, size.width}));
    nobody.emplace_back(std::string("dark blue, ") + name, at::tensor({0.0, 0.0, 0.2}).view({3, 1, 1}).expand({3, size.height, size.width}));
    nobody.emplace_back(std::string("black with noise, ") + name, (0.01 * at::randn({3, size.height, size.width})).clamp(0, 1));
  }
  nobody.emplace_back("noise", (0.5 + 0.2 * at::randn({3, 480, 848})).clamp(0, 1));
  for (const std::int64_t grain : {4, 8, 16, 60})
    nobody.emplace_back("soft noise " + std::to_string(grain), resize((0.5 + 0.2 * at::randn({3, 480 / grain, 848 / grain})).clamp(0, 1), Size{480, 848}));
  nobody.emplace_back("below the face", image.slice(1, 190));
  for (const auto& [name, picture] : faces) {
    std::printf("face    %.2f  %s\n", best(picture), name.c_str());
    EXPECT_EQ(chosen->detect(picture).size(), 1u) << name;
  }
  for (const auto& [name, picture] : nobody) {
    std::printf("nobody  %.2f  %s\n", best(picture), name.c_str());
    EXPECT_TRUE(chosen->detect(picture).empty()) << name;
    EXPECT_FALSE(largest_face_crop(picture, *chosen).has_value()) << name;
  }
}

TEST(Faces, DetectorFilesThatCannotBeUsed) {
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "yunet", .file = "absent.onnx"}); }), AllOf(HasSubstr("absent.onnx"), HasSubstr("2022mar")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "yunet", .file = photo}); }), AllOf(HasSubstr("astronaut.png"), HasSubstr("OpenCV")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "haar", .file = photo}); }), AllOf(HasSubstr("astronaut.png"), HasSubstr("cascade")));
  EXPECT_THAT(message_of([] { make_face_detector({.kind = "magic"}); }), HasSubstr("magic"));
}

TEST(Faces, YuNetFindsTheAstronautsLandmarks) {
  const std::string file = yunet_file();
  if (file.empty()) GTEST_SKIP() << "set MAGICID_YUNET to face_detection_yunet_2022mar.onnx to run this test";
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
