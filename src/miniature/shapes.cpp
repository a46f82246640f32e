#include "miniature/shapes.h"

#include <cmath>

namespace magicid::miniature {
namespace {

std::uint32_t scramble(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// Coverage of a band of width `share` around the middle of each period.
float stripes(float x, float pitch, float share, float pixel) {
  const float phase = x / pitch - std::floor(x / pitch);
  const float distance = (std::fabs(phase - 0.5f) - share / 2) * pitch;
  return std::clamp(0.5f - distance / pixel, 0.0f, 1.0f);
}

float pattern_amount(const Paint& paint, const Bounds& bounds, float x, float y, float pixel) {
  using Pattern = Paint::Pattern;
  const float p = paint.pitch;
  switch (paint.pattern) {
    case Pattern::plain: return 0;
    case Pattern::rows: return stripes(y, p, 0.5f, pixel);
    case Pattern::columns: return stripes(x, p, 0.5f, pixel);
    case Pattern::checks: return 0.5f * (stripes(x, p, 0.5f, pixel) + stripes(y, p, 0.5f, pixel));
    case Pattern::dots: {
      const float row = std::floor(y / p);
      const float shift = (static_cast<std::int64_t>(row) & 1) != 0 ? 0.5f : 0.0f;
      const float u = x / p + shift - std::floor(x / p + shift) - 0.5f, v = y / p - row - 0.5f;
      return std::clamp(0.5f - (std::sqrt(u * u + v * v) - 0.27f) * p / pixel, 0.0f, 1.0f);
    }
    case Pattern::windows: {
      const float u = (x - bounds.left) / p, v = (y - bounds.top) / (1.3f * p) - 0.35f;
      const auto column = static_cast<std::int64_t>(std::floor(u)), row = static_cast<std::int64_t>(std::floor(v));
      if (row < 0 || x + 0.15f * p > bounds.right) return 0;
      if (scramble(paint.seed + scramble(static_cast<std::uint32_t>(row * 977 + column))) % 100 >= 62) return 0;
      return stripes(x - bounds.left, p, 0.5f, pixel) * stripes(y - bounds.top - 0.35f * 1.3f * p, 1.3f * p, 0.52f, pixel);
    }
  }
  return 0;
}

Primitive at(Primitive::Kind kind, float x, float y, float angle) {
  Primitive p;
  p.kind = kind;
  p.x = x;
  p.y = y;
  p.cosine = std::cos(angle);
  p.sine = std::sin(angle);
  return p;
}

void bound_around(Primitive& p, float hx, float hy) {
  const float c = std::fabs(p.cosine), s = std::fabs(p.sine);
  const float w = c * hx + s * hy, h = s * hx + c * hy;
  p.bounds = {p.x - w, p.y - h, p.x + w, p.y + h};
}

}  // namespace

void Bounds::include(const Bounds& other) {
  left = std::min(left, other.left);
  top = std::min(top, other.top);
  right = std::max(right, other.right);
  bottom = std::max(bottom, other.bottom);
}

float Primitive::distance(float px, float py) const {
  if (kind == Kind::half_plane) return a * px + b * py - r;
  if (kind == Kind::polygon) {
    float d = -1e9f;
    for (int i = 0; i < edges; ++i)
      d = std::max(d, planes[static_cast<std::size_t>(i)][0] * px + planes[static_cast<std::size_t>(i)][1] * py - planes[static_cast<std::size_t>(i)][2]);
    return d;
  }
  const float dx = px - x, dy = py - y;
  if (kind == Kind::segment) {
    // a, b: the vector from end to end; cosine holds 1 / its squared length, sine the change of the radius.
    const float t = std::clamp((dx * a + dy * b) * cosine, 0.0f, 1.0f);
    const float ex = dx - t * a, ey = dy - t * b;
    return std::sqrt(ex * ex + ey * ey) - r - t * sine;
  }
  const float u = cosine * dx + sine * dy, v = cosine * dy - sine * dx;
  switch (kind) {
    case Kind::ellipse: {
      if (a == b) return std::sqrt(u * u + v * v) - a;
      // The value of the implicit function over its gradient: exact on the outline to first order.
      const float ux = u / a, vy = v / b, k = std::sqrt(ux * ux + vy * vy);
      const float gx = ux / a, gy = vy / b, g = std::sqrt(gx * gx + gy * gy);
      return g > 1e-6f ? k * (k - 1) / g : -std::min(a, b);
    }
    case Kind::box: {
      const float qx = std::fabs(u) - a + r, qy = std::fabs(v) - b + r;
      const float ox = std::max(qx, 0.0f), oy = std::max(qy, 0.0f);
      return std::sqrt(ox * ox + oy * oy) + std::min(std::max(qx, qy), 0.0f) - r;
    }
    case Kind::arc: {
      // a: radius; b: half angle, kept as cosine in planes[0][0] and sine in planes[0][1].
      const float w = std::fabs(u), c = planes[0][0], s = planes[0][1];
      if (c * w > s * v) {  // beyond the end
        const float ex = w - a * s, ey = v - a * c;
        return std::sqrt(ex * ex + ey * ey) - r;
      }
      return std::fabs(std::sqrt(w * w + v * v) - a) - r;
    }
    default: return 1e9f;
  }
}

Primitive ellipse(float x, float y, float rx, float ry, float angle) {
  Primitive p = at(Primitive::Kind::ellipse, x, y, angle);
  p.a = rx;
  p.b = ry;
  bound_around(p, rx, ry);
  return p;
}

Primitive box(float x, float y, float hx, float hy, float r, float angle) {
  Primitive p = at(Primitive::Kind::box, x, y, angle);
  p.a = hx;
  p.b = hy;
  p.r = std::min({r, hx, hy});
  bound_around(p, hx, hy);
  return p;
}

Primitive segment(Vec from, Vec to, float r0, float r1) {
  Primitive p = at(Primitive::Kind::segment, from.x, from.y, 0);
  p.a = to.x - from.x;
  p.b = to.y - from.y;
  p.cosine = 1 / std::max(p.a * p.a + p.b * p.b, 1e-12f);
  p.r = r0;
  p.sine = r1 - r0;
  p.bounds.include({from.x - r0, from.y - r0, from.x + r0, from.y + r0});
  p.bounds.include({to.x - r1, to.y - r1, to.x + r1, to.y + r1});
  return p;
}

Primitive arc(float x, float y, float radius, float half_angle, float r, float angle) {
  Primitive p = at(Primitive::Kind::arc, x, y, angle);
  p.a = radius;
  p.b = half_angle;
  p.r = r;
  p.planes[0] = {std::cos(half_angle), std::sin(half_angle), 0};
  // The stroke turned by `angle` from the lowest point; the bounds of a few of its points are enough, as strokes are thick.
  for (int i = -6; i <= 6; ++i) {
    const float t = angle * -1 + half_angle * static_cast<float>(i) / 6;
    const float cx = x + radius * std::sin(t), cy = y + radius * std::cos(t);
    p.bounds.include({cx - r * 1.2f, cy - r * 1.2f, cx + r * 1.2f, cy + r * 1.2f});
  }
  return p;
}

Primitive polygon(std::initializer_list<Vec> corners) {
  Primitive p = at(Primitive::Kind::polygon, 0, 0, 0);
  const std::vector<Vec> c(corners);
  float area = 0;
  for (std::size_t i = 0; i < c.size(); ++i) {
    const Vec &from = c[i], &to = c[(i + 1) % c.size()];
    area += from.x * to.y - to.x * from.y;
    p.bounds.include(from);
  }
  const float sign = area > 0 ? 1.0f : -1.0f;
  for (std::size_t i = 0; i < c.size() && i < 4; ++i) {
    const Vec &from = c[i], &to = c[(i + 1) % c.size()];
    const float nx = sign * (to.y - from.y), ny = sign * (from.x - to.x), length = std::max(std::sqrt(nx * nx + ny * ny), 1e-9f);
    p.planes[i] = {nx / length, ny / length, (nx * from.x + ny * from.y) / length};
    ++p.edges;
  }
  return p;
}

Primitive half_plane(float nx, float ny, float offset) {
  Primitive p = at(Primitive::Kind::half_plane, 0, 0, 0);
  p.a = nx;
  p.b = ny;
  p.r = offset;
  p.bounds = {-1e6f, -1e6f, 1e6f, 1e6f};
  if (nx == 0 && ny > 0) p.bounds.bottom = offset / ny;
  if (nx == 0 && ny < 0) p.bounds.top = offset / ny;
  if (ny == 0 && nx > 0) p.bounds.right = offset / nx;
  if (ny == 0 && nx < 0) p.bounds.left = offset / nx;
  return p;
}

void Drawing::add(const Paint& paint, const std::vector<Primitive>& primitives) {
  Shape shape;
  shape.paint = paint;
  shape.first = static_cast<std::uint32_t>(primitives_.size());
  shape.count = static_cast<std::uint32_t>(primitives.size());
  for (const auto& p : primitives) {
    if (p.join == Join::unite) shape.bounds.include(p.bounds);
    if (p.join == Join::blend)
      shape.bounds.include({p.bounds.left - p.softness, p.bounds.top - p.softness, p.bounds.right + p.softness, p.bounds.bottom + p.softness});
    if (p.join == Join::intersect) {
      shape.bounds.left = std::max(shape.bounds.left, p.bounds.left);
      shape.bounds.top = std::max(shape.bounds.top, p.bounds.top);
      shape.bounds.right = std::min(shape.bounds.right, p.bounds.right);
      shape.bounds.bottom = std::min(shape.bounds.bottom, p.bounds.bottom);
    }
    primitives_.push_back(p);
  }
  bounds_.include(shape.bounds);
  shapes_.push_back(shape);
}

float Drawing::distance(const Shape& shape, float x, float y) const {
  float d = 1e9f;
  for (std::uint32_t i = shape.first; i < shape.first + shape.count; ++i) {
    const Primitive& p = primitives_[i];
    const float e = p.distance(x, y);
    switch (p.join) {
      case Join::unite: d = std::min(d, e); break;
      case Join::intersect: d = std::max(d, e); break;
      case Join::subtract: d = std::max(d, -e); break;
      case Join::blend: {
        const float h = std::max(p.softness - std::fabs(d - e), 0.0f) / p.softness;
        d = std::min(d, e) - h * h * p.softness / 4;
        break;
      }
    }
  }
  return d;
}

float Drawing::paint(const Shape& shape, float x, float y, float pixel, float* rgb) const {
  const Paint& paint = shape.paint;
  const float d = distance(shape, x, y);
  const float coverage = paint.opacity * std::clamp(0.5f - d / (pixel + paint.softness), 0.0f, 1.0f);
  if (coverage <= 0) return 0;
  Colour colour = paint.colour;
  if (paint.pattern != Paint::Pattern::plain) colour = mix(colour, paint.second, pattern_amount(paint, shape.bounds, x, y, pixel));
  float light = 1;
  if (paint.shade_x != 0 || paint.shade_y != 0) {
    light += paint.shade_x * (x - 0.5f * (shape.bounds.left + shape.bounds.right)) + paint.shade_y * (y - 0.5f * (shape.bounds.top + shape.bounds.bottom));
  }
  if (paint.rim > 0) light -= paint.rim * smooth_step(-paint.rim_depth, 0, d);
  rgb[0] += coverage * (std::clamp(colour.red * light, 0.0f, 1.0f) - rgb[0]);
  rgb[1] += coverage * (std::clamp(colour.green * light, 0.0f, 1.0f) - rgb[1]);
  rgb[2] += coverage * (std::clamp(colour.blue * light, 0.0f, 1.0f) - rgb[2]);
  return coverage;
}

Colour mix(const Colour& a, const Colour& b, float amount) {
  return {a.red + amount * (b.red - a.red), a.green + amount * (b.green - a.green), a.blue + amount * (b.blue - a.blue)};
}

Colour scaled(const Colour& c, float factor) {
  return {std::clamp(c.red * factor, 0.0f, 1.0f), std::clamp(c.green * factor, 0.0f, 1.0f), std::clamp(c.blue * factor, 0.0f, 1.0f)};
}

Colour from_hsv(float hue, float saturation, float value) {
  const auto channel = [&](float n) {
    const float k = std::fmod(n + hue * 6, 6.0f);
    return value - value * saturation * std::clamp(std::min(k, 4 - k), 0.0f, 1.0f);
  };
  return {channel(5), channel(3), channel(1)};
}

float smooth_step(float low, float high, float x) {
  const float t = std::clamp((x - low) / (high - low), 0.0f, 1.0f);
  return t * t * (3 - 2 * t);
}

}  // namespace magicid::miniature
