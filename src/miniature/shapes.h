// A drawing made of antialiased shapes, each a combination of signed-distance primitives; y points down.
// Source of the distance functions: I. Quilez, "2D distance functions" (iquilezles.org/articles/distfunctions2d).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "miniature/world.h"

namespace magicid::miniature {

struct Vec {
  float x = 0, y = 0;
  bool operator==(const Vec&) const = default;
};

struct Bounds {
  float left = 1e9f, top = 1e9f, right = -1e9f, bottom = -1e9f;
  bool contains(float x, float y, float margin) const { return x > left - margin && x < right + margin && y > top - margin && y < bottom + margin; }
  void include(const Bounds& other);
  void include(Vec point) { include(Bounds{point.x, point.y, point.x, point.y}); }
};

// How a primitive joins those before it in its shape.
enum class Join : std::uint8_t { unite, intersect, subtract, blend };

struct Primitive {
  enum class Kind : std::uint8_t { ellipse, box, segment, arc, polygon, half_plane } kind = Kind::ellipse;
  Join join = Join::unite;
  float x = 0, y = 0;                            // centre, or the segment's first end
  float cosine = 1, sine = 0;                    // rotation, clockwise on the screen
  float a = 0, b = 0, r = 0;                     // radii or half sides, and the radius of corners, ends or strokes
  float softness = 0;                            // of a blend
  int edges = 0;                                 // of a polygon
  std::array<std::array<float, 3>, 4> planes{};  // its edges: outward normal and offset
  Bounds bounds;

  float distance(float px, float py) const;
};

Primitive ellipse(float x, float y, float rx, float ry, float angle = 0);
inline Primitive circle(float x, float y, float r) { return ellipse(x, y, r, r); }
// A rectangle with half sides `hx`, `hy` and corners of radius `r`.
Primitive box(float x, float y, float hx, float hy, float r = 0, float angle = 0);
// A stroke of radius `r0` at the first end and `r1` at the second.
Primitive segment(Vec from, Vec to, float r0, float r1);
inline Primitive segment(Vec from, Vec to, float r) { return segment(from, to, r, r); }
// A stroke of half thickness `r` along the circle of radius `radius`, `half_angle` to both sides of its lowest point (turned by `angle`).
Primitive arc(float x, float y, float radius, float half_angle, float r, float angle = 0);
// A convex polygon of three or four corners, in either sense.
Primitive polygon(std::initializer_list<Vec> corners);
// All points with n . p < offset.
Primitive half_plane(float nx, float ny, float offset);
inline Primitive above(float y) { return half_plane(0, 1, y); }
inline Primitive below(float y) { return half_plane(0, -1, -y); }

inline Primitive operator&(Join join, Primitive p) {
  p.join = join;
  return p;
}
inline Primitive minus(Primitive p) { return Join::subtract & p; }
inline Primitive within(Primitive p) { return Join::intersect & p; }
inline Primitive blended(Primitive p, float softness) {
  p.softness = softness;
  return Join::blend & p;
}

// How a shape's colour changes over its surface.
struct Paint {
  Colour colour;
  float opacity = 1;
  float softness = 0;              // width of the edge beyond antialiasing
  float shade_x = 0, shade_y = 0;  // brightness grows by this much for each unit from the shape's centre
  float rim = 0;                   // darkening towards the outline, over a depth of `rim_depth`
  float rim_depth = 0.3f;
  enum class Pattern : std::uint8_t { plain, rows, columns, checks, dots, windows } pattern = Pattern::plain;
  Colour second;           // the pattern's other colour
  float pitch = 0.2f;      // the pattern's period
  std::uint32_t seed = 0;  // which windows are lit
};

struct Shape {
  Paint paint;
  std::uint32_t first = 0, count = 0;
  Bounds bounds;
};

class Drawing {
 public:
  void add(const Paint& paint, std::initializer_list<Primitive> primitives) { add(paint, std::vector<Primitive>(primitives)); }
  void add(const Paint& paint, const std::vector<Primitive>& primitives);
  void add(const Colour& colour, std::initializer_list<Primitive> primitives) { add(Paint{colour}, primitives); }

  const std::vector<Shape>& shapes() const { return shapes_; }
  const Bounds& bounds() const { return bounds_; }
  float distance(const Shape& shape, float x, float y) const;
  // Blends the shape's colour over `rgb` at a point; `pixel` is the width of a pixel there. Returns the coverage.
  float paint(const Shape& shape, float x, float y, float pixel, float* rgb) const;

 private:
  std::vector<Primitive> primitives_;
  std::vector<Shape> shapes_;
  Bounds bounds_;
};

Colour mix(const Colour& a, const Colour& b, float amount);
Colour scaled(const Colour& colour, float factor);  // clamped to 0..1
Colour from_hsv(float hue, float saturation, float value);
float smooth_step(float low, float high, float x);

}  // namespace magicid::miniature
