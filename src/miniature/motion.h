// Where everything of a scene is at a moment: maps from the drawings' coordinates to the picture, and back.
//
// Scene coordinates: the origin is the middle of the picture at camera zoom 1, the unit its shorter side, y down.
#pragma once

#include "miniature/face.h"

namespace magicid::miniature {

// Zoom about the picture's middle, then the shift of panning.
struct CameraPose {
  float zoom = 1, x = 0, y = 0;
  Vec to_view(Vec p) const { return {zoom * (p.x - x), zoom * (p.y - y)}; }
  Vec from_view(Vec v) const { return {v.x / zoom + x, v.y / zoom + y}; }
  bool operator==(const CameraPose&) const = default;
};

// The body leans as a parabola with its foot at y = `foot`; upright it is a shift and a scale.
struct BodyPose {
  static constexpr float foot = 3;
  float x = 0, y = 0, scale = 0.235f;  // the origin of face coordinates in the scene, and their unit
  float bend = 0;
  Vec to_scene(Vec p) const;
  Vec from_scene(Vec s) const;
  // Bending turns what stands at face coordinates' origin by this angle.
  float lean() const;
  bool operator==(const BodyPose&) const = default;
};

// A head that turns: inside an ellipse around the head, points move by `turn` * (1 - squared radius), most in the middle and not at all at the rim, as the
// features of a ball do; then the head is rotated about `pivot` and placed.
struct HeadPose {
  static constexpr float reach = 1.25f;
  float x = 0, y = 0, scale = 0.235f, cosine = 1, sine = 0;
  float half_width = 0.8f;
  Vec turn;  // in units of the ellipse's radii; below 0.5
  Vec to_scene(Vec p) const;
  Vec from_scene(Vec s) const;
  // How much a step in the picture is stretched in the drawing at face coordinates p, for antialiasing.
  float stretch(Vec p) const;
  Vec radii() const { return {half_width * reach, reach}; }
  bool operator==(const HeadPose&) const = default;
};

struct Pose {
  CameraPose camera;
  BodyPose body;
  HeadPose head;
  bool operator==(const Pose&) const = default;
};

// `seconds` into a clip that lasts `duration` seconds. Movements to one side and the camera's cross their way once in a clip (in 1.5 s if it is shorter: then
// they are cut); movements to and fro keep their frequency.
Pose pose_at(const Scene& scene, const Figure& figure, double seconds, double duration);

}  // namespace magicid::miniature
