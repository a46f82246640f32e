// Scaling against torchvision, and the windows that photos are cut to.
#include "media/geometry.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "storage/safetensors.h"
#include "support/formula_weights.h"

namespace magicid::media {
namespace {

storage::SafetensorsFile golden() { return storage::SafetensorsFile::open(std::string(MAGICID_TEST_DATA) + "/media/scaling.safetensors"); }

TEST(Geometry, ResizesAsTorchvisionDoes) {
  const auto file = golden();
  const at::Tensor image = file.at("image");
  for (const Size size : {Size{12, 35}, Size{25, 13}, Size{7, 9}, Size{41, 61}, Size{50, 20}}) {
    const std::string suffix = "_" + std::to_string(size.height) + "_" + std::to_string(size.width);
    EXPECT_LT(tests::relative_error(resize(image, size, Interpolation::bilinear), file.at("bilinear" + suffix)), 1e-6) << suffix;
    const at::Tensor cubic = resize(image, size, Interpolation::bicubic);
    EXPECT_LT(tests::relative_error(cubic, at::clamp(file.at("bicubic" + suffix), 0, 1)), 1e-6) << suffix;
    EXPECT_GE(cubic.min().item<float>(), 0.0f);
    EXPECT_LE(cubic.max().item<float>(), 1.0f);
    const at::Tensor frames = at::stack({image, 1 - image});
    EXPECT_TRUE(at::equal(resize(frames, size)[0], cubic));
  }
  for (const std::int64_t side : {11, 14, 31})
    EXPECT_LT(tests::relative_error(resize_short_side(image, side), at::clamp(file.at("short_" + std::to_string(side)), 0, 1)), 1e-6) << side;
  for (const Size size : {Size{25, 35}, Size{14, 14}, Size{10, 34}, Size{24, 8}})
    EXPECT_TRUE(at::equal(center_crop(image, size), file.at("center_" + std::to_string(size.height) + "_" + std::to_string(size.width))));
  EXPECT_THROW(center_crop(image, {26, 10}), base::InvariantError);
}

TEST(Geometry, CropsRepeatEdges) {
  const at::Tensor image = at::arange(12, at::kFloat).reshape({1, 3, 4}).expand({3, 3, 4});
  const at::Tensor cut = crop_edge_padded(image, {-1, 1, 3, 4})[0];
  EXPECT_TRUE(at::equal(cut, at::tensor({4, 4, 5, 8, 8, 9, 8, 8, 9, 8, 8, 9}, at::kFloat).reshape({4, 3})));
  const at::Tensor padded = pad_centered(image, 1.5, 0.5);
  EXPECT_EQ(padded.sizes(), (std::vector<std::int64_t>{3, 5, 6}));
  EXPECT_EQ(padded[0][0][0].item<float>(), 0.5f);
  EXPECT_TRUE(at::equal(padded.narrow(1, 1, 3).narrow(2, 1, 4), image));
}

TEST(Geometry, CoverWindowKeepsTheFace) {
  const Size video{720, 1280};
  // A square photo, the face above the middle: full width, as high as the aspect allows, around the face.
  EXPECT_EQ(cover_window({512, 512}, video, Box{180, 70, 92, 92}), (Window{0, 0, 512, 288}));
  EXPECT_EQ(cover_window({512, 512}, video, Box{180, 250, 92, 92}), (Window{0, 152, 512, 288}));
  EXPECT_EQ(cover_window({512, 512}, video, Box{180, 420, 92, 92}), (Window{0, 224, 512, 288}));
  EXPECT_EQ(cover_window({512, 512}, video, std::nullopt), (Window{0, 112, 512, 288}));
  EXPECT_EQ(cover_window({720, 1280}, video, Box{0, 0, 50, 50}), (Window{0, 0, 1280, 720}));
  // A face that fills the photo would be cut: the window grows over the sides and keeps the whole photo.
  const Window grown = cover_window({500, 400}, video, Box{50, 60, 300, 300}, 0.35);
  EXPECT_EQ(grown.y, 0);
  EXPECT_EQ(grown.height, 465);  // from the top, clipped, to 60 + 1.35 * 300
  EXPECT_EQ(grown.width, 827);
  EXPECT_LT(grown.x, 0);
  EXPECT_GT(grown.x + grown.width, 400);
  // Whatever the sizes, the face stays inside, the aspect is right, and nothing is padded without need.
  for (const Size image : {Size{300, 200}, Size{200, 300}, Size{97, 511}, Size{640, 31}})
    for (const Size size : {Size{720, 1280}, Size{1280, 720}, Size{64, 64}})
      for (double fx : {0.0, 0.3, 0.8})
        for (double fy : {0.0, 0.5, 0.8})
          for (double share : {0.1, 0.2, 0.9}) {
            const double side = share * static_cast<double>(std::min(image.height, image.width));
            const Box face{fx * static_cast<double>(image.width) * (1 - share), fy * static_cast<double>(image.height) * (1 - share), side, side};
            const Window w = cover_window(image, size, face, 0);
            EXPECT_NEAR(static_cast<double>(w.width) * static_cast<double>(size.height), static_cast<double>(w.height) * static_cast<double>(size.width),
                        static_cast<double>(size.height + size.width));
            EXPECT_LE(w.x, face.x + 1);
            EXPECT_GE(w.x + w.width, face.x + face.width - 1);
            EXPECT_LE(w.y, face.y + 1);
            EXPECT_GE(w.y + w.height, face.y + face.height - 1);
            if (w.width <= image.width) {
              EXPECT_TRUE(w.x >= 0 && w.x + w.width <= image.width);
            }
            if (w.height <= image.height) {
              EXPECT_TRUE(w.y >= 0 && w.y + w.height <= image.height);
            }
          }
  const at::Tensor image = at::rand({3, 50, 40});
  const at::Tensor video_frame = cover_crop(image, {32, 64}, Box{5, 6, 30, 30});
  EXPECT_EQ(video_frame.sizes(), (std::vector<std::int64_t>{3, 32, 64}));
  EXPECT_TRUE(video_frame.isfinite().all().item<bool>());
}

TEST(Geometry, BucketsStayInsideAreaAndPhoto) {
  EXPECT_EQ(bucket_size({512, 512}, 720 * 1280, 16, "a"), (Size{512, 512}));     // never enlarged
  EXPECT_EQ(bucket_size({3000, 4000}, 720 * 1280, 16, "a"), (Size{832, 1104}));  // 4:3
  EXPECT_EQ(bucket_size({720, 1280}, 720 * 1280, 16, "a"), (Size{720, 1280}));
  EXPECT_EQ(bucket_size({64, 48}, 48 * 48, 16, "a").height % 16, 0);
  for (const Size photo : {Size{16, 16}, Size{17, 4000}, Size{4000, 31}, Size{1001, 777}, Size{5000, 5000}, Size{100, 33}})
    for (const std::int64_t area : {256, 4096, 48 * 48, 921600}) {
      const Size bucket = bucket_size(photo, area, 16, "photo");
      EXPECT_EQ(bucket.height % 16, 0);
      EXPECT_EQ(bucket.width % 16, 0);
      EXPECT_GE(bucket.height, 16);
      EXPECT_GE(bucket.width, 16);
      EXPECT_LE(bucket.height, photo.height);
      EXPECT_LE(bucket.width, photo.width);
      EXPECT_LE(bucket.height * bucket.width, area);
    }
  try {
    bucket_size({15, 100}, 10000, 16, "tiny.jpg");
    ADD_FAILURE() << "a photo below one block was accepted";
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("tiny.jpg"), testing::HasSubstr("100 x 15")));
  }
  // Cut, not squeezed or flipped: a marked pixel stays on its side.
  at::Tensor photo = at::zeros({3, 60, 100});
  photo.narrow(2, 0, 50).fill_(1);
  const at::Tensor cut = fit_bucket(photo, {32, 32}, Box{40, 20, 20, 20});
  EXPECT_GT(cut[0][16][2].item<float>(), 0.95f);
  EXPECT_LT(cut[0][16][30].item<float>(), 0.05f);
}

}  // namespace
}  // namespace magicid::media
