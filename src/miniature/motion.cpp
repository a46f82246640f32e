#include "miniature/motion.h"

#include <cmath>
#include <numbers>

#include "miniature/dice.h"

namespace magicid::miniature {
namespace {

constexpr double shortest_way = 1.5;  // seconds

}  // namespace

Vec BodyPose::to_scene(Vec p) const {
  const float h = std::max(foot - p.y, 0.0f);
  return {x + scale * (p.x + bend * h * h), y + scale * p.y};
}

Vec BodyPose::from_scene(Vec s) const {
  const float py = (s.y - y) / scale, h = std::max(foot - py, 0.0f);
  return {(s.x - x) / scale - bend * h * h, py};
}

float BodyPose::lean() const { return std::atan(2 * bend * foot); }

Vec HeadPose::to_scene(Vec p) const {
  const Vec r = radii();
  const float u = p.x / r.x, v = p.y / r.y, inside = std::max(1 - u * u - v * v, 0.0f);
  const float qx = p.x + r.x * turn.x * inside, qy = p.y + r.y * turn.y * inside;
  return {x + scale * (cosine * qx - sine * qy), y + scale * (sine * qx + cosine * qy)};
}

Vec HeadPose::from_scene(Vec s) const {
  const float dx = (s.x - x) / scale, dy = (s.y - y) / scale;
  const Vec q{cosine * dx + sine * dy, cosine * dy - sine * dx};
  const Vec r = radii();
  const float u = q.x / r.x, v = q.y / r.y, rest = 1 - u * u - v * v, t2 = turn.x * turn.x + turn.y * turn.y;
  if (rest <= 0 || t2 < 1e-12f) return q;
  // inside = 1 - |(u, v) - turn * inside|^2, solved for its positive root.
  const float b = 1 - 2 * (u * turn.x + v * turn.y);
  const float inside = 2 * rest / (b + std::sqrt(b * b + 4 * t2 * rest));
  return {q.x - r.x * turn.x * inside, q.y - r.y * turn.y * inside};
}

float HeadPose::stretch(Vec p) const {
  const Vec r = radii();
  const float u = p.x / r.x, v = p.y / r.y;
  if (u * u + v * v >= 1) return 1;
  return 1 / std::max(1 - 2 * (u * turn.x + v * turn.y), 0.3f);
}

Pose pose_at(const Scene& scene, const Figure& figure, double seconds, double duration) {
  using std::numbers::pi;
  Dice dice(scene.variation, "miniature-place");
  const double tempo = scene.speed == Speed::slowly ? 0.5 : scene.speed == Speed::steadily ? 1.0 : 2.0;
  const double way = (seconds - duration / 2) / std::max(duration, shortest_way);  // -0.5..0.5
  const double size = 0.236 * dice.uniform(0.94, 1.06);
  double x = dice.uniform(-0.04, 0.04), y = dice.uniform(-0.02, 0.02), angle = dice.uniform(-0.05, 0.05);
  double turn_x = dice.uniform(-0.06, 0.06), turn_y = dice.uniform(-0.04, 0.04), bend = 0;
  const double phase = dice.uniform();
  // Cycles a second at 'steadily'.
  const auto swing = [&](double frequency) { return std::sin(2 * pi * (frequency * tempo * seconds + phase)); };
  switch (scene.action) {
    case Action::stands_still: break;
    case Action::moves_left: x -= 0.21 * tempo * way; break;
    case Action::moves_right: x += 0.21 * tempo * way; break;
    case Action::jumps: {
      const double p = 0.75 * tempo * seconds + phase, h = p - std::floor(p);  // a ballistic hop in each cycle
      y += 0.06 - 0.15 * 4 * h * (1 - h);
      break;
    }
    case Action::nods: {
      const double s = swing(0.8);
      turn_y += 0.30 * s;
      y += 0.018 * s;
      break;
    }
    case Action::shakes_head: turn_x += 0.36 * swing(0.8); break;
    case Action::sways: bend = 0.045 * swing(0.7); break;
    case Action::spins_head: angle += 0.50 * swing(0.7); break;
  }

  Pose pose;
  // Zooms move by a constant factor a second, as a lens does.
  const double zoom = scene.camera == Camera::zooms_in ? std::pow(1.5, way) : scene.camera == Camera::zooms_out ? std::pow(1.5, -way) : 1.0;
  const double pan = scene.camera == Camera::pans_left ? -0.24 * way : scene.camera == Camera::pans_right ? 0.24 * way : 0.0;
  pose.camera = {static_cast<float>(zoom), static_cast<float>(pan), 0};
  pose.body.x = static_cast<float>(x);
  pose.body.y = static_cast<float>(y);
  pose.body.scale = static_cast<float>(size);
  pose.body.bend = static_cast<float>(bend);

  // The head sits on the body where the neck ends and rolls about it.
  const float roll = pose.body.lean() + static_cast<float>(angle);
  constexpr float neck = 0.85f;
  const Vec joint = pose.body.to_scene({0, neck});
  HeadPose& head = pose.head;
  head.scale = pose.body.scale;
  head.cosine = std::cos(roll);
  head.sine = std::sin(roll);
  head.x = joint.x + head.scale * neck * head.sine;
  head.y = joint.y - head.scale * neck * head.cosine;
  head.half_width = figure.half_width;
  head.turn = {static_cast<float>(turn_x), static_cast<float>(turn_y)};
  return pose;
}

}  // namespace magicid::miniature
