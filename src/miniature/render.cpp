#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "miniature/backgrounds.h"
#include "miniature/dice.h"
#include "miniature/motion.h"
#include "miniature/world.h"

namespace magicid::miniature {
namespace {

// Which map a pixel's surface moves with.
enum class Layer : std::uint8_t { background, body, head };

struct Frame {
  std::int64_t height, width;
  float unit;                // pixels for a unit of the scene
  std::vector<float> rgb;    // [H,W,3]
  std::vector<Layer> layer;  // [H,W]

  Frame(std::int64_t h, std::int64_t w)
      : height(h),
        width(w),
        unit(static_cast<float>(std::min(h, w))),
        rgb(static_cast<std::size_t>(h * w * 3)),
        layer(static_cast<std::size_t>(h * w), Layer::background) {}
  Vec to_view(float column, float row) const {
    return {(column + 0.5f - 0.5f * static_cast<float>(width)) / unit, (row + 0.5f - 0.5f * static_cast<float>(height)) / unit};
  }
  Vec to_pixel(Vec view) const { return {view.x * unit + 0.5f * static_cast<float>(width) - 0.5f, view.y * unit + 0.5f * static_cast<float>(height) - 0.5f}; }
};

struct Window {
  std::int64_t left, top, right, bottom;  // exclusive at the right and bottom
};

Window window_of(const Frame& frame, const Bounds& view) {
  const Vec a = frame.to_pixel({view.left, view.top}), b = frame.to_pixel({view.right, view.bottom});
  // One pixel around for antialiasing; clamped before the conversion, for bounds may be as good as infinite.
  const auto index = [](float v, std::int64_t n) { return static_cast<std::int64_t>(std::clamp(v, 0.0f, static_cast<float>(n))); };
  return {index(std::floor(a.x) - 1, frame.width), index(std::floor(a.y) - 1, frame.height), index(std::ceil(b.x) + 2, frame.width),
          index(std::ceil(b.y) + 2, frame.height)};
}

void paint_background(Frame& frame, const Backdrop& backdrop, const CameraPose& camera) {
  const float pixel = 1 / (frame.unit * camera.zoom);
  for (std::int64_t row = 0; row < frame.height; ++row) {
    const Colour c = backdrop.base(camera.from_view(frame.to_view(0, static_cast<float>(row))).y, pixel);
    float* out = frame.rgb.data() + row * frame.width * 3;
    for (std::int64_t column = 0; column < frame.width; ++column, out += 3) {
      out[0] = c.red;
      out[1] = c.green;
      out[2] = c.blue;
    }
  }
  for (const Shape& shape : backdrop.drawing.shapes()) {
    const float margin = shape.paint.softness;
    const Vec a = camera.to_view({shape.bounds.left - margin, shape.bounds.top - margin}),
              b = camera.to_view({shape.bounds.right + margin, shape.bounds.bottom + margin});
    const Window w = window_of(frame, {a.x, a.y, b.x, b.y});
    for (std::int64_t row = w.top; row < w.bottom; ++row) {
      for (std::int64_t column = w.left; column < w.right; ++column) {
        const Vec p = camera.from_view(frame.to_view(static_cast<float>(column), static_cast<float>(row)));
        backdrop.drawing.paint(shape, p.x, p.y, pixel, frame.rgb.data() + (row * frame.width + column) * 3);
      }
    }
  }
}

// A drawing that moves with `map` (BodyPose or HeadPose), and the box of the drawing's own plane that what moves lies in.
template <class Map>
struct MovingDrawing {
  const Drawing& drawing;
  const Map& map;
  Layer layer;
  Bounds reach;
};

// `stretch` gives how much the map widens the drawing at a point.
template <class Map, class Stretch>
void paint_layer(Frame& frame, const CameraPose& camera, const MovingDrawing<Map>& moving, Stretch stretch) {
  const auto& [drawing, map, layer, reach] = moving;
  if (drawing.shapes().empty()) return;
  Bounds view;
  // The maps are monotonic along the edges of a box that holds what they move, up to the body's parabola, which a few points on each side follow.
  for (int i = 0; i <= 8; ++i) {
    const float y = reach.top + (reach.bottom - reach.top) * static_cast<float>(i) / 8;
    for (const float x : {reach.left, reach.right}) view.include(camera.to_view(map.to_scene({x, y})));
  }
  const Window w = window_of(frame, view);
  const float base_pixel = 1 / (frame.unit * camera.zoom * map.scale);
  for (std::int64_t row = w.top; row < w.bottom; ++row) {
    for (std::int64_t column = w.left; column < w.right; ++column) {
      const Vec p = map.from_scene(camera.from_view(frame.to_view(static_cast<float>(column), static_cast<float>(row))));
      const float pixel = base_pixel * stretch(p);
      const std::size_t at = static_cast<std::size_t>(row * frame.width + column);
      for (const Shape& shape : drawing.shapes()) {
        if (!shape.bounds.contains(p.x, p.y, pixel + shape.paint.softness)) continue;
        if (drawing.paint(shape, p.x, p.y, pixel, frame.rgb.data() + at * 3) > 0.5f) frame.layer[at] = layer;
      }
    }
  }
}

struct Stage {
  Backdrop backdrop;
  Figure figure;
  explicit Stage(const Scene& scene) : backdrop(make_backdrop(scene.background, scene.variation)), figure(make_figure(scene.person, scene.variation)) {}
};

void paint_person(Frame& frame, const Figure& figure, const Pose& pose) {
  // What the head's turning can move lies in its ellipse.
  const Vec r = pose.head.radii();
  const auto head_reach = [&](const Drawing& d) {
    Bounds b = d.bounds();
    b.include({-r.x, -r.y, r.x, r.y});
    return b;
  };
  const auto head_stretch = [&](Vec p) { return pose.head.stretch(p); };
  paint_layer(frame, pose.camera, MovingDrawing<HeadPose>{figure.behind, pose.head, Layer::head, head_reach(figure.behind)}, head_stretch);
  paint_layer(frame, pose.camera, MovingDrawing<BodyPose>{figure.body, pose.body, Layer::body, figure.body.bounds()}, [](Vec) { return 1.0f; });
  paint_layer(frame, pose.camera, MovingDrawing<HeadPose>{figure.head, pose.head, Layer::head, head_reach(figure.head)}, head_stretch);
}

void write_frame(const Frame& frame, const Colour& light, float* out) {
  const std::int64_t n = frame.height * frame.width;
  const float factors[3] = {light.red, light.green, light.blue};
  for (int c = 0; c < 3; ++c) {
    for (std::int64_t i = 0; i < n; ++i) out[c * n + i] = std::clamp(frame.rgb[static_cast<std::size_t>(i * 3 + c)] * factors[c], 0.0f, 1.0f);
  }
}

// From one pose to the next: out [2,H,W].
void write_flow(const Frame& frame, const Pose& now, const Pose& next, float* out) {
  const std::int64_t n = frame.height * frame.width;
  for (std::int64_t row = 0; row < frame.height; ++row) {
    for (std::int64_t column = 0; column < frame.width; ++column) {
      const std::int64_t i = row * frame.width + column;
      const Layer layer = frame.layer[static_cast<std::size_t>(i)];
      const Vec scene = now.camera.from_view(frame.to_view(static_cast<float>(column), static_cast<float>(row)));
      // A surface that does not move has exactly no flow.
      const bool still = now.camera == next.camera && (layer == Layer::background || (layer == Layer::body ? now.body == next.body : now.head == next.head));
      if (still) {
        out[i] = out[n + i] = 0;
        continue;
      }
      Vec moved = scene;
      if (layer == Layer::body) moved = next.body.to_scene(now.body.from_scene(scene));
      if (layer == Layer::head) moved = next.head.to_scene(now.head.from_scene(scene));
      const Vec pixel = frame.to_pixel(next.camera.to_view(moved));
      out[i] = pixel.x - static_cast<float>(column);
      out[n + i] = pixel.y - static_cast<float>(row);
    }
  }
}

void write_points(const Frame& frame, const Figure& figure, const Pose& pose, float* landmarks, float* box) {
  const auto place = [&](Vec p) { return frame.to_pixel(pose.camera.to_view(pose.head.to_scene(p))); };
  for (std::size_t i = 0; i < figure.landmarks.size(); ++i) {
    const Vec q = place(figure.landmarks[i]);
    landmarks[2 * i] = q.x;
    landmarks[2 * i + 1] = q.y;
  }
  Bounds b;
  for (const Vec& p : figure.outline) b.include(place(p));
  box[0] = b.left;
  box[1] = b.top;
  box[2] = b.right;
  box[3] = b.bottom;
}

}  // namespace

Clip render(const Scene& scene, const ClipSize& size, bool with_flow) {
  if (size.frames < 1 || size.height < 1 || size.width < 1 || !(size.fps > 0)) {
    throw base::UserError("a clip of ", size.frames, " frames of ", size.height, "x", size.width, " at ", size.fps,
                          " frames a second: every number must be above 0");
  }
  const Stage stage(scene);
  const double duration = static_cast<double>(size.frames - 1) / size.fps;
  std::vector<Pose> poses;
  for (std::int64_t f = 0; f < size.frames; ++f) poses.push_back(pose_at(scene, stage.figure, static_cast<double>(f) / size.fps, duration));

  Clip clip;
  clip.frames = at::empty({size.frames, 3, size.height, size.width});
  clip.landmarks = at::empty({size.frames, 5, 2});
  clip.boxes = at::empty({size.frames, 4});
  if (with_flow) clip.flow = at::empty({size.frames - 1, 2, size.height, size.width});
  const std::int64_t pixels = size.height * size.width;
  Frame frame(size.height, size.width);
  std::vector<float> background;
  for (std::int64_t f = 0; f < size.frames; ++f) {
    const Pose& pose = poses[static_cast<std::size_t>(f)];
    const bool again = f > 0 && pose.camera == poses[static_cast<std::size_t>(f - 1)].camera;
    if (again) {
      frame.rgb = background;
    } else {
      paint_background(frame, stage.backdrop, pose.camera);
      background = frame.rgb;
    }
    std::fill(frame.layer.begin(), frame.layer.end(), Layer::background);
    paint_person(frame, stage.figure, pose);
    write_frame(frame, stage.backdrop.light, clip.frames.data_ptr<float>() + f * 3 * pixels);
    write_points(frame, stage.figure, pose, clip.landmarks.data_ptr<float>() + f * 10, clip.boxes.data_ptr<float>() + f * 4);
    if (with_flow && f + 1 < size.frames) write_flow(frame, pose, poses[static_cast<std::size_t>(f + 1)], clip.flow.data_ptr<float>() + f * 2 * pixels);
  }
  return clip;
}

Photo render_photo(const Scene& scene, double time, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1 || !(time >= 0 && time <= 1)) {
    throw base::UserError("a photo of ", height, "x", width, " at time ", time, ": the size must be above 0 and the time within 0..1");
  }
  constexpr double duration = 1.5;
  const Stage stage(scene);
  const Pose pose = pose_at(scene, stage.figure, time * duration, duration);
  Frame frame(height, width);
  paint_background(frame, stage.backdrop, pose.camera);
  paint_person(frame, stage.figure, pose);
  Photo photo{at::empty({3, height, width}), at::empty({5, 2}), at::empty({4})};
  write_frame(frame, stage.backdrop.light, photo.image.data_ptr<float>());
  write_points(frame, stage.figure, pose, photo.landmarks.data_ptr<float>(), photo.box.data_ptr<float>());
  return photo;
}

Scene draw_scene(const Person& person, std::uint64_t seed, std::int64_t index) {
  Dice dice(seed, "miniature-scene", static_cast<std::uint64_t>(index));
  Scene s;
  s.person = person;
  s.action = static_cast<Action>(dice.below(actions));
  const int speed = dice.below(speeds);
  s.speed = s.action == Action::stands_still ? Speed::steadily : static_cast<Speed>(speed);
  s.background = static_cast<Background>(dice.below(backgrounds));
  const bool moving = dice.chance(0.3);
  const int camera = dice.below(cameras - 1);
  s.camera = moving ? static_cast<Camera>(1 + camera) : Camera::still;
  s.variation = dice.bits();
  return s;
}

}  // namespace magicid::miniature
