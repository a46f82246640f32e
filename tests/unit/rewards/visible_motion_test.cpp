// R_dy on clips that only seem to move, and on clips that do.
#include "rewards/visible_motion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>

#include "media/geometry.h"
#include "miniature/world.h"
#include "rewards/dynamics.h"
#include "rewards/models.h"

namespace magicid::rewards {
namespace {

constexpr std::int64_t height = 96, width = 128, frames = 6;

// A texture with detail at several sizes, [3,h,w] in 0..1.
at::Tensor texture(std::int64_t h, std::int64_t w, double contrast = 0.15) {
  at::Tensor picture = at::full({3, h, w}, 0.5);
  for (const std::int64_t grain : {4, 10, 30})
    picture = picture + contrast * media::resize(at::randn({3, 2 + h / grain, 2 + w / grain}), {h, w}, media::Interpolation::bilinear);
  return picture.clamp(0, 1);
}

at::Tensor constant_flow(double x, double y) { return at::tensor({x, y}, at::kFloat).view({2, 1, 1}).expand({2, height, width}).contiguous(); }

TEST(VisibleMotion, ATextureThatMovesCountsWhole) {
  at::manual_seed(1);
  const at::Tensor world = texture(height + 40, width + 40);
  const auto view = [&](std::int64_t y, std::int64_t x) { return world.slice(1, y, y + height).slice(2, x, x + width); };
  for (const auto& [dx, dy] : {std::pair{1, 0}, std::pair{3, 4}, std::pair{12, -16}}) {
    const at::Tensor first = view(20, 20), second = view(20 - dy, 20 - dx);
    const VisibleMotion motion = visible_motion(first, second, constant_flow(dx, dy), constant_flow(-dx, -dy));
    EXPECT_GT(motion.explained, 0.99);
    EXPECT_GT(motion.consistent, 0.99);
    EXPECT_NEAR(motion.score(), std::hypot(dx, dy), 1e-4);
    // Under a lamp that grows brighter, and with noise over both.
    EXPECT_NEAR(visible_motion(first, (second * 0.9 + 0.05), constant_flow(dx, dy), constant_flow(-dx, -dy)).score(), std::hypot(dx, dy),
                0.02 * std::hypot(dx, dy));
    const auto noisy = [](const at::Tensor& image) { return (image + 0.012 * at::randn_like(image)).clamp(0, 1); };
    EXPECT_NEAR(visible_motion(noisy(first), noisy(second), constant_flow(dx, dy), constant_flow(-dx, -dy)).score(), std::hypot(dx, dy),
                0.02 * std::hypot(dx, dy));
  }
}

TEST(VisibleMotion, AFlowThatExplainsNothingIsNoMotion) {
  at::manual_seed(2);
  const at::Tensor still = texture(height, width), black = at::zeros({3, height, width}), forward = constant_flow(9, 2), backward = constant_flow(-9, -2);
  const auto score = [&](const at::Tensor& first, const at::Tensor& second) { return visible_motion(first, second, forward, backward).score(); };
  EXPECT_EQ(score(black, black), 0);
  EXPECT_EQ(score(still, still), 0);
  EXPECT_EQ(score(still * 0.7, still * 0.9), 0);  // a lamp
  EXPECT_EQ(score(still * 0.7, still * 0.7 + 0.2), 0);
  // A cut: some of another scene fits by chance, but the flow does not lead back.
  EXPECT_EQ(visible_motion(still, texture(height, width), forward, constant_flow(4, 7)).score(), 0);
  EXPECT_EQ(score(at::rand({3, height, width}), at::rand({3, height, width})), 0);  // noise
  EXPECT_EQ(score((0.01 * at::randn({3, height, width})).clamp(0, 1), black), 0);
  // A flow that fits but does not lead back.
  const at::Tensor moved = still.roll({2, 9}, {1, 2});
  EXPECT_GT(score(still, moved), 9);
  EXPECT_EQ(visible_motion(still, moved, forward, constant_flow(40, -30)).score(), 0);
  at::Tensor broken = forward.clone();
  broken[0][3][4] = std::nanf("");
  EXPECT_TRUE(std::isnan(visible_motion(still, moved, broken, backward).score()));
  // The smallest pictures.
  EXPECT_EQ(visible_motion(at::rand({3, 1, 1}), at::rand({3, 1, 1}), at::ones({2, 1, 1}), at::ones({2, 1, 1})).score(), 0);
}

struct ClipKind {
  const char* name;
  at::Tensor clip;  // [F,3,H,W]
};

at::Tensor each_frame(const std::function<at::Tensor(std::int64_t)>& frame) {
  std::vector<at::Tensor> all;
  for (std::int64_t f = 0; f < frames; ++f) all.push_back(frame(f).clamp(0, 1));
  return at::stack(all);
}

at::Tensor world_clip(int person, miniature::Action action, miniature::Camera camera = miniature::Camera::still) {
  auto scene = miniature::draw_scene(miniature::make_person(3, miniature::Split::test, person), 4, person);
  scene.action = action;
  scene.camera = camera;
  scene.speed = miniature::Speed::quickly;
  return miniature::render(scene, {frames, height, width, 8}, /*with_flow=*/false).frames;
}

std::vector<ClipKind> clips_that_seem_to_move() {
  using miniature::Action;
  const at::Tensor still = world_clip(0, Action::stands_still), moving = world_clip(1, Action::moves_left);
  const auto other_scene = [](std::int64_t f) { return world_clip(static_cast<int>(2 + f), Action::stands_still)[0]; };
  const auto soft = [](std::int64_t grain) {
    return each_frame([grain](std::int64_t) {
      return media::resize(at::randn({3, 2 + height / grain, 2 + width / grain}) * 0.2 + 0.5, {height, width}, media::Interpolation::bicubic);
    });
  };
  const at::Tensor lamp = (-((at::arange(height).view({-1, 1}) - 30).square() + (at::arange(width).view({1, -1}) - 40).square()) / 1800.0).exp();
  return {{"soft noise, grains of 4 pixels", soft(4)},
          {"soft noise, grains of 12 pixels", soft(12)},
          {"soft noise, grains of 30 pixels", soft(30)},
          {"white noise", each_frame([](std::int64_t) { return 0.5 + 0.2 * at::randn({3, height, width}); })},
          {"a cut at every frame", each_frame(other_scene)},
          {"one cut between stills", each_frame([&](std::int64_t f) { return f < 3 ? still[0] : other_scene(1); })},
          {"black", at::zeros({frames, 3, height, width})},
          {"black with noise", each_frame([](std::int64_t) { return 0.01 * at::randn({3, height, width}); })},
          {"one colour that changes", each_frame([](std::int64_t f) { return at::full({3, height, width}, 0.1 + 0.15 * static_cast<double>(f)); })},
          {"a still under a flickering lamp", each_frame([&](std::int64_t f) { return still[0] * (0.4 + 0.5 * static_cast<double>(f % 2) * lamp); })},
          {"a still that flickers", each_frame([&](std::int64_t f) { return still[0] * (f % 2 ? 0.9 : 0.6); })},
          {"a still that fades in", each_frame([&](std::int64_t f) { return still[0] * static_cast<double>(f) / static_cast<double>(frames); })},
          {"one still dissolves into another",
           each_frame([&](std::int64_t f) { return still[0] + (other_scene(1) - still[0]) * static_cast<double>(f) / static_cast<double>(frames - 1); })},
          {"a still with noise", each_frame([&](std::int64_t) { return still[0] + 0.02 * at::randn({3, height, width}); })}};
}

std::vector<ClipKind> clips_that_move() {
  using miniature::Action;
  using miniature::Camera;
  const at::Tensor left = world_clip(1, Action::moves_left);
  return {{"moves left", left},
          {"moves right", world_clip(2, Action::moves_right)},
          {"jumps", world_clip(3, Action::jumps)},
          {"nods", world_clip(4, Action::nods)},
          {"shakes the head", world_clip(5, Action::shakes_head)},
          {"sways", world_clip(6, Action::sways)},
          {"spins the head", world_clip(7, Action::spins_head)},
          {"the camera zooms in", world_clip(8, Action::stands_still, Camera::zooms_in)},
          {"the camera pans", world_clip(9, Action::stands_still, Camera::pans_left)},
          {"moves left, with noise", each_frame([&](std::int64_t f) { return left[f] + 0.02 * at::randn({3, height, width}); })},
          {"moves left under a flickering lamp", each_frame([&](std::int64_t f) { return left[f] * (f % 2 ? 1.0 : 0.85); })},
          {"moves left, one cut", each_frame([&](std::int64_t f) { return f < 3 ? left[f] : left[f].flip({2}) * 0.8; })}};
}

// The measurement behind R_dy, with the small world's RAFT; MAGICID_RAFT names the folder of another one. It prints the table of docs/method.md.
TEST(VisibleMotion, ClipsThatOnlySeemToMove) {
  at::manual_seed(3);
  const char* given = std::getenv("MAGICID_RAFT");
  const std::string folder = given && *given ? given : std::string(MAGICID_SOURCE_DIR) + "/datasets/miniature/rewards/raft";
  const auto network = flow_network(std::make_shared<models::vision::Raft>(models::vision::Raft::load(folder, at::kCPU)), 12);
  std::printf("| clip | dynamic degree, pixels | R_dy |\n|---|---|---|\n");
  const auto measure = [&](const ClipKind& kind) {
    const Dynamics dynamics = measure_dynamics(kind.clip, 8, 8, network);
    std::printf("| %s | %.2f | %.2f |\n", kind.name, dynamics.score, dynamics.reward);
    return dynamics;
  };
  double slowest = 1e9;
  for (const ClipKind& kind : clips_that_move()) {
    const Dynamics dynamics = measure(kind);
    const bool cut = std::string(kind.name).find("cut") != std::string::npos;
    // One pair of five is a cut, and counts nothing. Turning heads hide what the small RAFT would have to find: a quarter of their motion is not counted.
    EXPECT_GE(dynamics.reward, (cut ? 0.5 : 0.7) * (cut ? dynamics.pair_scores[0] : dynamics.score)) << kind.name;
    EXPECT_LE(dynamics.reward, 1.0001 * dynamics.score) << kind.name;
    slowest = std::min(slowest, dynamics.reward);
  }
  for (const ClipKind& kind : clips_that_seem_to_move()) EXPECT_LT(measure(kind).reward, 0.1 * slowest) << kind.name;
}

}  // namespace
}  // namespace magicid::rewards
