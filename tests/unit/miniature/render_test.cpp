#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "miniature/world.h"

namespace magicid::miniature {
namespace {

Scene scene_number(std::int64_t i) { return draw_scene(make_person(11, Split::train, i), 12, i); }

TEST(Render, HasTheShapesOfTheHeaderAtOddSizes) {
  for (const ClipSize size : {ClipSize{13, 48, 48, 8}, ClipSize{13, 50, 70, 8}, ClipSize{3, 71, 41, 12}, ClipSize{1, 96, 96, 8}, ClipSize{2, 7, 5, 8}}) {
    const Clip c = render(scene_number(size.height), size);
    EXPECT_EQ(c.frames.sizes(), (at::IntArrayRef{size.frames, 3, size.height, size.width}));
    EXPECT_EQ(c.flow.sizes(), (at::IntArrayRef{size.frames - 1, 2, size.height, size.width}));
    EXPECT_EQ(c.landmarks.sizes(), (at::IntArrayRef{size.frames, 5, 2}));
    EXPECT_EQ(c.boxes.sizes(), (at::IntArrayRef{size.frames, 4}));
    for (const at::Tensor& t : {c.frames, c.flow, c.landmarks, c.boxes}) {
      EXPECT_EQ(t.scalar_type(), at::kFloat);
      EXPECT_TRUE(at::isfinite(t).all().item<bool>());
    }
    EXPECT_GE(c.frames.min().item<float>(), 0.0f);
    EXPECT_LE(c.frames.max().item<float>(), 1.0f);
  }
  EXPECT_FALSE(render(scene_number(0), {2, 16, 16, 8}, /*with_flow=*/false).flow.defined());
}

TEST(Render, IsDeterministicAndEveryPartOfASceneCounts) {
  const ClipSize size{4, 48, 48, 8};
  const Scene s = scene_number(5);
  const Clip a = render(s, size), b = render(s, size);
  EXPECT_TRUE(at::equal(a.frames, b.frames));
  EXPECT_TRUE(at::equal(a.flow, b.flow));
  EXPECT_TRUE(at::equal(a.frames, render(s, size, /*with_flow=*/false).frames));
  Scene other = s;
  other.variation ^= 1;
  EXPECT_FALSE(at::equal(a.frames, render(other, size).frames));
  other = s;
  other.background = s.background == Background::room ? Background::snow : Background::room;
  EXPECT_FALSE(at::equal(a.frames, render(other, size).frames));
  other = s;
  other.person.eyes = {1, 0, 0};
  other.person.glasses = Glasses::none;
  EXPECT_FALSE(at::equal(a.frames, render(other, size).frames));
}

// Moving cameras' frames are drawn from nothing, still ones on the first frame's background: both give the same picture.
TEST(Render, ShowsTheSameFrameInAClipAndInAPhoto) {
  for (const Camera camera : {Camera::still, Camera::pans_left}) {
    Scene s = scene_number(9);
    s.action = Action::jumps;
    s.camera = camera;
    const Clip c = render(s, {13, 40, 40, 8});
    const Photo p = render_photo(s, 0.5, 40, 40);
    EXPECT_LT((c.frames[6] - p.image).abs().max().item<float>(), 1e-5f);
    EXPECT_LT((c.landmarks[6] - p.landmarks).abs().max().item<float>(), 1e-3f);
    EXPECT_LT((c.boxes[6] - p.box).abs().max().item<float>(), 1e-3f);
  }
}

TEST(Render, ShowsTheSamePictureAtOtherSizes) {
  for (std::int64_t i = 0; i < 12; ++i) {
    const Scene s = scene_number(i);
    const Clip small = render(s, {3, 48, 48, 8}), large = render(s, {3, 192, 192, 8});
    const at::Tensor reduced = at::avg_pool2d(large.frames, {4, 4});
    EXPECT_LT((small.frames - reduced).abs().mean().item<float>(), 0.012f) << caption(s);
    // Pixel centres are integers: point x of the small picture is 4 x + 1.5 in the large one.
    EXPECT_LT((4 * small.landmarks + 1.5 - large.landmarks).abs().max().item<float>(), 1e-3f);
    EXPECT_LT((4 * small.boxes + 1.5 - large.boxes).abs().max().item<float>(), 1e-3f);
  }
  // A wide picture shows more to both sides of the square one.
  const Scene s = scene_number(3);
  const at::Tensor square = render(s, {1, 48, 48, 8}).frames, wide = render(s, {1, 48, 80, 8}).frames;
  EXPECT_LT((square - wide.slice(3, 16, 64)).abs().max().item<float>(), 1e-5f);
}

TEST(Render, PutsTheFaceIntoThePicture) {
  std::int64_t frames = 0, whole = 0;
  for (std::int64_t i = 0; i < 200; ++i) {
    const Clip c = render(scene_number(i), {13, 48, 48, 8}, /*with_flow=*/false);
    const at::Tensor lo = c.boxes.slice(1, 0, 2), hi = c.boxes.slice(1, 2, 4);
    // Landmarks lie in their box, in order from left to right and from top to bottom.
    EXPECT_TRUE((c.landmarks >= lo.unsqueeze(1)).all().item<bool>()) << caption(scene_number(i));
    EXPECT_TRUE((c.landmarks <= hi.unsqueeze(1)).all().item<bool>()) << caption(scene_number(i));
    EXPECT_TRUE((c.landmarks.select(1, 0).select(1, 0) < c.landmarks.select(1, 1).select(1, 0)).all().item<bool>());
    EXPECT_TRUE((c.landmarks.select(1, 3).select(1, 0) < c.landmarks.select(1, 4).select(1, 0)).all().item<bool>());
    const at::Tensor height = c.boxes.select(1, 3) - c.boxes.select(1, 1);
    EXPECT_GT(height.min().item<float>(), 9.0f);
    EXPECT_LT(height.max().item<float>(), 26.0f);
    // Some pixels of the ears may leave it.
    const at::Tensor inside = ((lo > -6) & (hi < 53)).all(1);
    EXPECT_TRUE(((lo > -16) & (hi < 63)).all().item<bool>()) << caption(scene_number(i));
    frames += inside.numel();
    whole += inside.sum().item<std::int64_t>();
  }
  EXPECT_GT(static_cast<double>(whole), 0.97 * static_cast<double>(frames));
}

TEST(Render, DrawsTheEyesWhereTheLandmarksAre) {
  Person p;
  p.skin = {0.96f, 0.78f, 0.62f};
  p.eyes = {0.1f, 0.4f, 0.9f};
  Scene s;
  s.person = p;
  const Photo photo = render_photo(s, 0.5, 256, 256);
  for (int eye = 0; eye < 2; ++eye) {
    const auto x = photo.landmarks[eye][0].item<float>(), y = photo.landmarks[eye][1].item<float>();
    const at::Tensor at_eye = photo.image.select(2, std::lround(x)).select(1, std::lround(y));
    EXPECT_LT(at_eye.max().item<float>(), 0.15f) << "the pupil is dark";
  }
  const auto x = photo.landmarks[2][0].item<float>(), y = photo.landmarks[2][1].item<float>();
  EXPECT_GT(photo.image[0][std::lround(y) - 4][std::lround(x)].item<float>(), 0.6f) << "the nose is of the skin's colour";
}

TEST(Render, RefusesImpossibleSizes) {
  EXPECT_THROW(render(scene_number(0), {0, 48, 48, 8}), base::UserError);
  EXPECT_THROW(render(scene_number(0), {1, 48, 0, 8}), base::UserError);
  EXPECT_THROW(render(scene_number(0), {1, 48, 48, 0}), base::UserError);
  EXPECT_THROW(render_photo(scene_number(0), 1.5, 48, 48), base::UserError);
}

}  // namespace
}  // namespace magicid::miniature
