#include "miniature/face.h"

#include <cmath>
#include <numbers>

#include "miniature/dice.h"

namespace magicid::miniature {
namespace {

constexpr float pi = std::numbers::pi_v<float>;

struct Measures {
  float half_width, jaw_width;
  float eye_x, eye_y, eye_rx, eye_ry;
  float brow_y, mouth_y, mouth_half;
  float ear_rx, ear_ry;
};

Measures measure(const Person& p) {
  Measures m{};
  m.half_width = 0.80f + 0.09f * p.face_width;
  m.jaw_width = m.half_width * (0.76f + 0.17f * p.jaw);
  m.eye_rx = 0.205f + 0.04f * p.eye_size;
  m.eye_ry = 0.20f + 0.045f * p.eye_size;
  m.eye_x = std::min(0.37f + 0.06f * p.eye_distance, m.half_width - m.eye_rx - 0.08f);
  m.eye_x = std::max(m.eye_x, m.eye_rx + 0.06f);
  m.eye_y = -0.02f + 0.08f * p.eye_height;
  m.brow_y = m.eye_y - m.eye_ry - 0.13f;
  m.mouth_y = 0.58f;
  m.mouth_half = 0.27f + 0.09f * p.mouth_width;
  m.ear_rx = 0.15f + 0.06f * p.ear_size;
  m.ear_ry = 0.22f + 0.08f * p.ear_size;
  return m;
}

float brightness(const Colour& c) { return 0.3f * c.red + 0.59f * c.green + 0.11f * c.blue; }

std::vector<Primitive> head_outline(const Measures& m, float grow = 0) {
  return {ellipse(0, -0.18f, m.half_width + grow, 0.82f + grow), blended(ellipse(0, 0.40f, m.jaw_width + grow, 0.60f + grow), 0.22f)};
}

std::vector<Primitive> joined(std::vector<Primitive> first, std::initializer_list<Primitive> more) {
  first.insert(first.end(), more);
  return first;
}

Paint hair_paint(const Person& p) {
  Paint paint{p.hair};
  paint.shade_y = -0.16f;
  paint.rim = 0.22f;
  paint.rim_depth = 0.12f;
  return paint;
}

void add_hair_behind(Drawing& d, const Person& p, const Measures& m) {
  Paint paint{scaled(p.hair, 0.78f)};
  if (brightness(p.hair) < 0.15f) paint.colour = scaled(p.hair, 0.9f);
  const float w = m.half_width;
  switch (p.hair_style) {
    case HairStyle::long_hair: d.add(paint, {ellipse(0, -0.2f, w + 0.2f, 0.95f), box(0, 0.65f, w + 0.26f, 0.95f, 0.3f)}); break;
    case HairStyle::bob: d.add(paint, {ellipse(0, -0.2f, w + 0.2f, 0.95f), box(0, 0.25f, w + 0.24f, 0.62f, 0.25f)}); break;
    case HairStyle::curly: {
      std::vector<Primitive> balls;
      for (int i = 0; i < 13; ++i) {
        const float t = pi * (-1.15f + 1.3f * static_cast<float>(i) / 12);
        balls.push_back(circle((w + 0.10f) * std::cos(t), -0.28f + 0.82f * std::sin(t), 0.30f));
      }
      d.add(paint, balls);
      break;
    }
    default: break;
  }
}

// The hair that lies on the head and frames the face.
void add_hair(Drawing& d, const Person& p, const Measures& m) {
  const float w = m.half_width;
  const Paint paint = hair_paint(p);
  const bool covered = p.hat != Hat::none;
  const Primitive skull = ellipse(0, -0.20f, w + 0.07f, 0.90f);
  HairStyle style = p.hair_style;
  // A hat hides what stands up.
  if (covered && (style == HairStyle::spiky || style == HairStyle::bun)) style = HairStyle::short_hair;
  if (covered && style == HairStyle::mohawk) return;
  switch (style) {
    case HairStyle::bald: break;
    case HairStyle::short_hair:
      d.add(paint, {skull, within(above(-0.08f)), minus(ellipse(0.10f, 0.30f, w * 0.97f, 0.88f)), minus(box(0, 0.2f, w * 0.86f, 0.5f, 0.2f))});
      break;
    case HairStyle::long_hair:
      d.add(paint, {skull, within(above(0.2f)), Join::unite & box(-w - 0.04f, 0.45f, 0.15f, 0.85f, 0.14f), box(w + 0.04f, 0.45f, 0.15f, 0.85f, 0.14f),
                    minus(ellipse(-0.30f, 0.38f, w * 0.72f, 1.02f)), minus(ellipse(0.30f, 0.38f, w * 0.72f, 1.02f))});
      break;
    case HairStyle::bob:
      d.add(paint, {skull, within(above(0.2f)), box(-w - 0.02f, 0.15f, 0.17f, 0.55f, 0.15f), box(w + 0.02f, 0.15f, 0.17f, 0.55f, 0.15f),
                    minus(box(0, 0.36f, w * 0.84f, 0.80f, 0.12f))});
      break;
    case HairStyle::curly: {
      std::vector<Primitive> balls;
      for (int i = 0; i < 9; ++i) {
        const float t = pi * (1.02f + 0.96f * static_cast<float>(i) / 8);
        if (covered && i > 1 && i < 7) continue;
        balls.push_back(circle((w - 0.02f) * std::cos(t), -0.30f + 0.58f * std::sin(t), 0.235f));
      }
      d.add(paint, balls);
      break;
    }
    case HairStyle::spiky: {
      d.add(paint, {skull, within(above(-0.30f)), minus(ellipse(0, 0.30f, w * 0.95f, 0.86f)), minus(box(0, 0.2f, w * 0.88f, 0.62f, 0.2f)),
                    polygon({{-w - 0.02f, -0.35f}, {-w * 0.50f, -0.85f}, {-w - 0.12f, -1.02f}}),
                    polygon({{-w * 0.85f, -0.55f}, {-w * 0.15f, -0.85f}, {-w * 0.62f, -1.38f}}),
                    polygon({{-w * 0.45f, -0.75f}, {w * 0.45f, -0.75f}, {0, -1.5f}}), polygon({{w * 0.85f, -0.55f}, {w * 0.15f, -0.85f}, {w * 0.62f, -1.38f}}),
                    polygon({{w + 0.02f, -0.35f}, {w * 0.50f, -0.85f}, {w + 0.12f, -1.02f}})});
      break;
    }
    case HairStyle::mohawk:
      d.add(paint, {ellipse(0, -0.92f, 0.25f, 0.34f), polygon({{-0.25f, -0.95f}, {0.02f, -1.1f}, {-0.30f, -1.42f}}),
                    polygon({{0.25f, -0.95f}, {-0.02f, -1.1f}, {0.30f, -1.42f}}), polygon({{-0.19f, -1.0f}, {0.19f, -1.0f}, {0, -1.62f}})});
      break;
    case HairStyle::bun:
      d.add(paint, {circle(0, -1.18f, 0.30f)});
      d.add(paint, {skull, within(above(0.0f)), minus(ellipse(0, 0.42f, w * 0.93f, 1.02f))});
      break;
  }
}

void add_hat(Drawing& d, const Person& p, const Measures& m) {
  const float w = m.half_width;
  Paint paint{p.hat_colour};
  paint.rim = 0.25f;
  paint.rim_depth = 0.15f;
  Paint band{brightness(p.hat_colour) > 0.5f ? scaled(p.hat_colour, 0.55f) : mix(p.hat_colour, {1, 1, 1}, 0.35f)};
  switch (p.hat) {
    case Hat::none: break;
    case Hat::cap:
      d.add(paint, {ellipse(0, -0.42f, w + 0.11f, 0.82f), within(above(-0.48f))});
      d.add(band, {box(0.14f, -0.46f, w + 0.16f, 0.085f, 0.08f)});
      break;
    case Hat::beanie:
      d.add(band, {circle(0, -1.24f, 0.17f)});
      d.add(paint, {ellipse(0, -0.40f, w + 0.10f, 0.80f), within(above(-0.5f))});
      band.pattern = Paint::Pattern::columns;
      band.second = scaled(band.colour, 0.82f);
      band.pitch = 0.16f;
      d.add(band, {box(0, -0.54f, w + 0.13f, 0.14f, 0.10f)});
      break;
    case Hat::top_hat:
      d.add(paint, {box(0, -1.10f, w * 0.78f, 0.52f, 0.06f)});
      d.add(band, {box(0, -0.74f, w * 0.78f, 0.10f)});
      d.add(paint, {box(0, -0.60f, w + 0.28f, 0.085f, 0.08f)});
      break;
  }
}

void add_eyes(Drawing& d, const Person& p, const Measures& m) {
  const Colour outline = scaled(p.skin, 0.55f);
  for (const float side : {-1.0f, 1.0f}) {
    const float x = side * m.eye_x, y = m.eye_y, iris = 0.66f * m.eye_ry;
    d.add(outline, {ellipse(x, y - 0.015f, m.eye_rx + 0.03f, m.eye_ry + 0.03f)});
    d.add(Colour{0.98f, 0.98f, 0.97f}, {ellipse(x, y, m.eye_rx, m.eye_ry)});
    d.add(p.eyes, {circle(x, y + 0.01f, iris)});
    d.add(Colour{0.03f, 0.03f, 0.04f}, {circle(x, y + 0.01f, 0.5f * iris)});
    d.add(Colour{1, 1, 1}, {circle(x + 0.05f, y - 0.05f, 0.04f)});
  }
}

void add_brows(Drawing& d, const Person& p, const Measures& m) {
  Colour colour = p.hair_style == HairStyle::bald ? scaled(p.skin, 0.38f) : scaled(p.hair, 0.8f);
  if (std::fabs(brightness(colour) - brightness(p.skin)) < 0.12f) colour = scaled(p.skin, 0.42f);
  const float radius = 0.05f + 0.025f * p.brow_thickness, rise = 0.10f * p.brow_angle;
  for (const float side : {-1.0f, 1.0f}) {
    const float inner = side * (m.eye_x - 0.20f), outer = side * (m.eye_x + 0.21f);
    d.add(colour, {segment({inner, m.brow_y + rise}, {outer, m.brow_y - rise}, radius * 1.15f, radius * 0.85f)});
  }
}

void add_beard(Drawing& d, const Person& p, const Measures& m) {
  if (p.beard == Beard::none) return;
  const bool shaven = p.hair_style == HairStyle::bald;
  Paint paint{shaven ? mix(p.hair, scaled(p.skin, 0.35f), 0.3f) : scaled(p.hair, 0.88f)};
  const auto outline = head_outline(m, 0.05f);
  if (p.beard == Beard::full) {
    paint.rim = 0.2f;
    paint.rim_depth = 0.12f;
    d.add(paint, joined(outline, {within(below(0.14f)), minus(ellipse(0, 0.12f, m.half_width * 0.85f, 0.41f))}));
  }
  if (p.beard == Beard::goatee) d.add(paint, {ellipse(0, 0.86f, 0.25f, 0.26f), segment({-0.03f, 0.66f}, {0.03f, 0.66f}, 0.12f)});
  if (p.beard == Beard::moustache || p.beard == Beard::goatee) {
    const float half = p.beard == Beard::moustache ? m.mouth_half + 0.10f : m.mouth_half - 0.02f;
    d.add(paint, {segment({-0.06f, 0.44f}, {-half, 0.50f}, 0.085f, 0.035f), segment({0.06f, 0.44f}, {half, 0.50f}, 0.085f, 0.035f)});
  }
}

void add_mouth(Drawing& d, const Person& p, const Measures& m) {
  // Two lips: a bow of the lips' colour with a darker line between them.
  const float h = m.mouth_half, radius = 1.7f * h, half_angle = std::asin(h / radius), top = m.mouth_y - radius * std::cos(half_angle);
  d.add(p.lips, {arc(0, top - 0.04f, radius, half_angle, 0.05f), ellipse(0, m.mouth_y + 0.01f, 0.75f * h, 0.085f)});
  d.add(scaled(p.lips, 0.45f), {arc(0, top - 0.045f, radius, half_angle, 0.022f)});
}

void add_nose(Drawing& d, const Person& p, const Measures&) {
  const float s = 1 + 0.35f * p.nose_size;
  const Colour shadow = brightness(p.skin) < 0.35f ? mix(p.skin, {0, 0, 0}, 0.4f) : scaled(p.skin, 0.74f);
  d.add(shadow, {ellipse(0, 0.27f, 0.135f * s, 0.10f * s), segment({0, 0.05f}, {0, 0.25f}, 0.035f, 0.07f * s)});
  d.add(mix(p.skin, {1, 1, 1}, brightness(p.skin) < 0.35f ? 0.12f : 0.25f), {ellipse(-0.015f, 0.22f, 0.05f * s, 0.085f * s)});
}

void add_glasses(Drawing& d, const Person& p, const Measures& m) {
  if (p.glasses == Glasses::none) return;
  const float y = m.eye_y + 0.01f, x = std::max(m.eye_x, 0.335f), r = std::min(0.27f, x - 0.05f), stroke = 0.055f;
  const Colour frame = p.glasses == Glasses::dark ? Colour{0.07f, 0.07f, 0.09f} : p.glasses_colour;
  for (const float side : {-1.0f, 1.0f}) d.add(frame, {segment({side * (x + r), y - 0.04f}, {side * (m.half_width + 0.02f), y - 0.08f}, 0.035f)});
  d.add(frame, {segment({-x + r, y - 0.02f}, {x - r, y - 0.02f}, 0.045f)});
  for (const float side : {-1.0f, 1.0f}) {
    const float c = side * x;
    if (p.glasses == Glasses::round) {
      Paint glass{{0.85f, 0.95f, 1.0f}, 0.22f};
      d.add(glass, {circle(c, y, r)});
      d.add(frame, {circle(c, y, r + stroke), minus(circle(c, y, r - 0.01f))});
    } else if (p.glasses == Glasses::square) {
      d.add(frame, {box(c, y, r + stroke, 0.25f + stroke, 0.06f), minus(box(c, y, r - 0.01f, 0.25f - 0.01f, 0.04f))});
    } else {
      d.add(frame, {box(c, y, r + 0.05f, 0.25f, 0.17f)});
      Paint shine{{0.75f, 0.85f, 1.0f}, 0.45f};
      d.add(shine, {segment({c - 0.10f, y - 0.02f}, {c - 0.02f, y - 0.12f}, 0.025f)});
    }
  }
}

void add_mark(Drawing& d, const Person& p, const Measures& m) {
  const float cheek = 0.62f * m.half_width;
  switch (p.mark) {
    case Mark::none: break;
    case Mark::scar: {
      const Colour colour = brightness(p.skin) < 0.35f ? Colour{0.80f, 0.45f, 0.42f} : Colour{0.72f, 0.16f, 0.16f};
      d.add(colour, {segment({cheek - 0.12f, 0.26f}, {cheek + 0.04f, 0.62f}, 0.035f), segment({cheek - 0.15f, 0.43f}, {cheek + 0.03f, 0.35f}, 0.026f),
                     segment({cheek - 0.09f, 0.57f}, {cheek + 0.09f, 0.49f}, 0.026f)});
      break;
    }
    case Mark::freckles: {
      const Colour colour = brightness(p.skin) < 0.35f ? mix(p.skin, {1.0f, 0.8f, 0.6f}, 0.45f) : scaled(p.skin, 0.58f);
      for (const float side : {-1.0f, 1.0f}) {
        d.add(colour,
              {circle(side * (cheek - 0.13f), 0.28f, 0.045f), circle(side * (cheek + 0.05f), 0.30f, 0.045f), circle(side * (cheek - 0.05f), 0.42f, 0.045f)});
      }
      break;
    }
    case Mark::forehead_dot: d.add(Colour{0.85f, 0.08f, 0.12f}, {circle(0, -0.35f, 0.09f)}); break;
    case Mark::blush: {
      Paint paint{{0.95f, 0.30f, 0.38f}, 0.6f};
      paint.softness = 0.14f;
      for (const float side : {-1.0f, 1.0f}) d.add(paint, {ellipse(side * cheek, 0.36f, 0.19f, 0.13f)});
      break;
    }
  }
}

void add_head(Drawing& d, const Person& p, const Measures& m, float light) {
  Paint skin{p.skin};
  skin.rim = 0.17f;
  skin.rim_depth = 0.35f;
  skin.shade_x = 0.10f * light;
  Paint ear = skin;
  ear.colour = scaled(p.skin, 0.93f);
  const float ear_x = m.half_width + 0.35f * m.ear_rx;
  for (const float side : {-1.0f, 1.0f}) {
    d.add(ear, {ellipse(side * ear_x, 0.06f, m.ear_rx, m.ear_ry)});
    d.add(scaled(p.skin, 0.68f), {ellipse(side * (ear_x + 0.02f), 0.07f, 0.45f * m.ear_rx, 0.5f * m.ear_ry)});
  }
  d.add(skin, head_outline(m));
  if (p.mark == Mark::blush) add_mark(d, p, m);
  add_beard(d, p, m);
  if (p.mark != Mark::blush) add_mark(d, p, m);
  add_mouth(d, p, m);
  add_eyes(d, p, m);
  add_nose(d, p, m);
  add_brows(d, p, m);
  add_hair(d, p, m);
  add_glasses(d, p, m);
  add_hat(d, p, m);
}

void add_body(Drawing& d, const Person& p, Dice& dice) {
  using Pattern = Paint::Pattern;
  const Colour cloth = from_hsv(static_cast<float>(dice.uniform()), static_cast<float>(dice.uniform(0.25, 0.85)), static_cast<float>(dice.uniform(0.35, 0.92)));
  const Colour other = from_hsv(static_cast<float>(dice.uniform()), static_cast<float>(dice.uniform(0.1, 0.8)), static_cast<float>(dice.uniform(0.4, 1.0)));
  Paint paint{cloth};
  paint.rim = 0.25f;
  paint.rim_depth = 0.3f;
  paint.second = other;
  paint.pitch = static_cast<float>(dice.uniform(0.35, 0.55));
  const double look = dice.uniform();
  if (look > 0.5) paint.pattern = look < 0.66 ? Pattern::rows : look < 0.76 ? Pattern::columns : look < 0.9 ? Pattern::dots : Pattern::checks;
  const float shoulder = 1.30f + 0.06f * p.jaw;
  const std::vector<Primitive> torso{ellipse(0, 2.15f, shoulder, 0.98f), box(0, 5.0f, shoulder, 2.9f, 0.2f)};
  d.add(paint, torso);
  const int collar = dice.below(4);
  const Paint neck{{0.85f * p.skin.red, 0.76f * p.skin.green, 0.75f * p.skin.blue}};
  const float half = 0.36f + 0.05f * p.jaw;
  const Colour trim = mix(scaled(cloth, 0.62f), other, paint.pattern == Pattern::plain ? 0.0f : 0.5f);
  const std::vector<Primitive> bare{box(0, 0.95f, half, 0.42f, 0.1f), ellipse(0, 1.3f, half + 0.05f, 0.16f)};
  switch (collar) {
    case 0:  // round neck
      d.add(trim, {ellipse(0, 1.27f, half + 0.17f, 0.28f)});
      d.add(neck, bare);
      break;
    case 1:  // V neck
      d.add(trim, {polygon({{-half - 0.24f, 1.12f}, {half + 0.24f, 1.12f}, {0, 1.86f}})});
      d.add(neck, joined(bare, {polygon({{-half - 0.06f, 1.12f}, {half + 0.06f, 1.12f}, {0, 1.70f}})}));
      break;
    case 2:  // shirt with a collar and buttons
      d.add(neck, bare);
      d.add(mix(cloth, {1, 1, 1}, 0.55f),
            {polygon({{-half - 0.12f, 1.12f}, {0, 1.42f}, {-0.26f, 1.66f}}), polygon({{half + 0.12f, 1.12f}, {0, 1.42f}, {0.26f, 1.66f}})});
      d.add(mix(cloth, {1, 1, 1}, 0.7f), {circle(0, 1.80f, 0.06f), circle(0, 2.10f, 0.06f)});
      break;
    default:  // polo neck
      d.add(neck, bare);
      d.add(trim, {box(0, 1.22f, half + 0.10f, 0.17f, 0.08f)});
      break;
  }
}

}  // namespace

Figure make_figure(const Person& person, std::uint64_t variation) {
  const Measures m = measure(person);
  Dice dice(variation, "miniature-clothes");
  Figure f;
  f.half_width = m.half_width;
  const float light = dice.chance(0.5) ? 1.0f : -1.0f;
  add_hair_behind(f.behind, person, m);
  add_body(f.body, person, dice);
  add_head(f.head, person, m, light);
  f.landmarks = {{{-m.eye_x, m.eye_y}, {m.eye_x, m.eye_y}, {0, 0.27f}, {-m.mouth_half, m.mouth_y - 0.03f}, {m.mouth_half, m.mouth_y - 0.03f}}};
  const float ear = m.half_width + 1.35f * m.ear_rx;
  f.outline = {{-ear, 0.06f}, {ear, 0.06f}, {-m.eye_x, m.brow_y - 0.05f}, {m.eye_x, m.brow_y - 0.05f}, {0, 1.0f}, {-0.3f, 0.97f}, {0.3f, 0.97f}};
  return f;
}

}  // namespace magicid::miniature
