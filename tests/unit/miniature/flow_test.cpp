#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "miniature/world.h"

namespace magicid::miniature {
namespace {

constexpr std::int64_t side = 96;
constexpr ClipSize size{13, side, side, 8};

Scene scene_of(int number, Action action, Camera camera, Speed speed = Speed::steadily) {
  Scene s = draw_scene(make_person(21, Split::train, number), 22, number);
  s.action = action;
  s.camera = camera;
  s.speed = speed;
  return s;
}

// image [C,H,W] sampled bilinearly at points (x, y) [N,2] inside it -> [N,C].
at::Tensor sample(const at::Tensor& image, const at::Tensor& points) {
  const auto h = static_cast<double>(image.size(1)), w = static_cast<double>(image.size(2));
  const at::Tensor grid = at::stack({points.select(1, 0) * (2 / (w - 1)) - 1, points.select(1, 1) * (2 / (h - 1)) - 1}, 1).view({1, 1, -1, 2});
  return at::grid_sampler_2d(image.unsqueeze(0), grid, /*bilinear*/ 0, /*zeros*/ 0, /*align_corners=*/true).squeeze(2).squeeze(0).t();
}

at::Tensor pixel_positions() {
  const at::Tensor rows = at::arange(side, at::kFloat).view({side, 1}).expand({side, side}),
                   columns = at::arange(side, at::kFloat).view({1, side}).expand({side, side});
  return at::stack({columns, rows}, 2).view({-1, 2});
}

struct WarpError {
  double mean, good;  // mean absolute error, and the share of pixels within 0.06
};

// Frame f against frame f + 1 pulled back along the flow (or along none), over pixels that stay in the picture.
WarpError warp_error(const Clip& c, bool use_flow) {
  double sum = 0, good = 0, count = 0;
  for (std::int64_t f = 0; f + 1 < c.frames.size(0); ++f) {
    const at::Tensor here = pixel_positions(), there = use_flow ? here + c.flow[f].permute({1, 2, 0}).reshape({-1, 2}) : here;
    const at::Tensor inside = ((there >= 0) & (there <= side - 1)).all(1);
    const at::Tensor error = (sample(c.frames[f + 1], there.index({inside})) - sample(c.frames[f], here.index({inside}))).abs().mean(1);
    sum += error.sum().item<double>();
    good += (error < 0.06).sum().item<double>();
    count += static_cast<double>(error.numel());
  }
  return {sum / count, good / count};
}

TEST(Flow, IsZeroWhereNothingMoves) {
  const Clip c = render(scene_of(1, Action::stands_still, Camera::still), size);
  EXPECT_EQ(c.flow.abs().max().item<float>(), 0.0f);
  for (std::int64_t f = 1; f < 13; ++f) EXPECT_TRUE(at::equal(c.frames[0], c.frames[f]));
  // The background of a still camera, and the body of someone who shakes the head.
  const Clip shaking = render(scene_of(1, Action::shakes_head, Camera::still), size);
  EXPECT_EQ(shaking.flow.slice(3, 0, 8).abs().max().item<float>(), 0.0f);
  EXPECT_EQ(shaking.flow.slice(2, side - 4, side).abs().max().item<float>(), 0.0f);
  EXPECT_GT(shaking.flow.abs().max().item<float>(), 1.0f);
}

TEST(Flow, OfACameraThatPansIsConstant) {
  for (const Camera camera : {Camera::pans_left, Camera::pans_right}) {
    const Clip c = render(scene_of(2, Action::stands_still, camera), size);
    const at::Tensor x = c.flow.select(1, 0), y = c.flow.select(1, 1);
    // 24% of the picture in 12 steps; what stands in front of a camera that pans to the left moves to the right.
    const float step = (camera == Camera::pans_left ? 0.24f : -0.24f) * side / 12;
    EXPECT_LT((x - step).abs().max().item<float>(), 1e-3f);
    EXPECT_LT(y.abs().max().item<float>(), 1e-3f);
  }
}

TEST(Flow, OfACameraThatZoomsIsLinear) {
  const Clip c = render(scene_of(3, Action::stands_still, Camera::zooms_in), size);
  const at::Tensor centred = pixel_positions() - 0.5 * (side - 1);
  const double factor = std::pow(1.5, 1.0 / 12);
  for (std::int64_t f = 0; f < 12; ++f) {
    const at::Tensor flow = c.flow[f].permute({1, 2, 0}).reshape({-1, 2});
    EXPECT_LT((flow - centred * (factor - 1)).abs().max().item<float>(), 2e-3f);
  }
}

TEST(Flow, CarriesLandmarksToTheNextFrame) {
  int checked = 0;
  for (int a = 0; a < actions; ++a) {
    for (int camera = 0; camera < cameras; ++camera) {
      for (int s = 0; s < speeds; ++s) {
        const Scene scene = scene_of(a * 20 + camera * 3 + s, static_cast<Action>(a), static_cast<Camera>(camera), static_cast<Speed>(s));
        const Clip c = render(scene, size);
        for (std::int64_t f = 0; f < 12; ++f) {
          const at::Tensor now = c.landmarks[f], inside = ((now >= 1) & (now <= side - 2)).all(1);
          const at::Tensor carried = now + sample(c.flow[f], now);
          const at::Tensor error = (carried - c.landmarks[f + 1]).abs().index({inside});
          if (error.numel() == 0) continue;
          EXPECT_LT(error.max().item<float>(), 0.3f) << caption(scene) << ", frame " << f;
          checked += static_cast<int>(error.size(0));
        }
      }
    }
  }
  EXPECT_GT(checked, 6500);
}

TEST(Flow, PullsTheNextFrameBackOntoThisOne) {
  for (int a = 1; a < actions; ++a) {
    for (int camera = 0; camera < cameras; camera += 2) {
      const Scene scene = scene_of(30 + a, static_cast<Action>(a), static_cast<Camera>(camera), Speed::quickly);
      const Clip c = render(scene, size);
      const WarpError with = warp_error(c, true), without = warp_error(c, false);
      // What is left are surfaces that something moves in front of, and edges, which bilinear sampling softens.
      EXPECT_GT(with.good, 0.88) << caption(scene);
      EXPECT_LT(with.mean, 0.03) << caption(scene);
      EXPECT_LT(with.mean, 0.55 * without.mean) << caption(scene);
    }
  }
}

// The face's middle, in pixels of a picture 100 wide: how far it comes in a clip.
double travel(Action action, Speed speed) {
  const Clip c = render(scene_of(4, action, Camera::still, speed), {13, 100, 100, 8}, /*with_flow=*/false);
  const at::Tensor nose = c.landmarks.select(1, 2);
  return (nose[12] - nose[0])[0].item<double>();
}

TEST(Motion, IsTwiceAsFastAtTheNextSpeed) {
  EXPECT_NEAR(travel(Action::moves_left, Speed::quickly), -42, 1);
  EXPECT_NEAR(travel(Action::moves_left, Speed::steadily), -21, 1);
  EXPECT_NEAR(travel(Action::moves_right, Speed::slowly), 10.5, 1);
  for (const Action action : {Action::jumps, Action::nods, Action::shakes_head, Action::sways, Action::spins_head}) {
    double mean[speeds] = {};
    for (int s = 0; s < speeds; ++s) {
      // Over 4 s, so that the phase does not matter.
      const Clip c = render(scene_of(4, action, Camera::still, static_cast<Speed>(s)), {49, 96, 96, 12}, false);
      const at::Tensor face = c.landmarks.select(1, 0);
      mean[s] = (face.slice(0, 1) - face.slice(0, 0, -1)).norm(2, 1).mean().item<double>();
    }
    EXPECT_GT(mean[0], 0.2) << static_cast<int>(action);
    EXPECT_GT(mean[1], 1.5 * mean[0]) << static_cast<int>(action);
    EXPECT_GT(mean[2], 1.5 * mean[1]) << static_cast<int>(action);
  }
}

TEST(Motion, OfAClipCutShortIsItsPart) {
  // The same speed in pixels a frame, whatever the length below 1.5 s.
  const Scene s = scene_of(6, Action::moves_right, Camera::still, Speed::quickly);
  const Clip whole = render(s, {13, 96, 96, 8}), part = render(s, {5, 96, 96, 8});
  EXPECT_NEAR(whole.flow.select(1, 0).max().item<double>(), part.flow.select(1, 0).max().item<double>(), 1e-3);
}

}  // namespace
}  // namespace magicid::miniature
