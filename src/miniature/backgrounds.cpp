#include "miniature/backgrounds.h"

#include <cmath>

#include "miniature/dice.h"

namespace magicid::miniature {
namespace {

constexpr float far_side = 2.4f;  // drawings reach from -far_side to far_side

float between(Dice& dice, double low, double high) { return static_cast<float>(dice.uniform(low, high)); }

Colour tinted(Dice& dice, Colour c, double amount = 0.05) {
  const auto channel = [&](float v) { return std::clamp(v + between(dice, -amount, amount), 0.0f, 1.0f); };
  const float red = channel(c.red), green = channel(c.green), blue = channel(c.blue);
  return {red, green, blue};
}

void add_clouds(Drawing& d, Dice& dice, const Colour& colour, int count, double low, double high) {
  for (int i = 0; i < count; ++i) {
    const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.1, 0.9)) / static_cast<float>(count);
    const float y = between(dice, low, high), s = between(dice, 0.05, 0.085);
    Paint paint{colour, 0.9f};
    paint.shade_y = -1.0f;
    d.add(paint, {ellipse(x, y, 1.7f * s, 0.62f * s), circle(x - 0.55f * s, y - 0.35f * s, 0.62f * s), circle(x + 0.40f * s, y - 0.45f * s, 0.75f * s)});
  }
}

Backdrop beach(Dice& dice) {
  Backdrop b;
  b.top = tinted(dice, {0.32f, 0.66f, 0.95f});
  b.horizon = tinted(dice, {0.76f, 0.92f, 0.98f}, 0.03);
  b.horizon_y = between(dice, 0.04, 0.12);
  const float shore = b.horizon_y + between(dice, 0.13, 0.18);
  const Colour sea = tinted(dice, {0.08f, 0.48f, 0.70f}), sand = tinted(dice, {0.96f, 0.86f, 0.58f}, 0.04);
  b.ground = sea;
  if (dice.chance(0.6)) {
    const float x = between(dice, 0.22, 0.42) * (dice.chance(0.5) ? 1.0f : -1.0f), y = between(dice, -0.40, -0.28);
    Paint glow{{1.0f, 0.97f, 0.75f}, 0.5f};
    glow.softness = 0.08f;
    b.drawing.add(glow, {circle(x, y, 0.11f)});
    b.drawing.add(Colour{1.0f, 0.93f, 0.45f}, {circle(x, y, 0.075f)});
  }
  add_clouds(b.drawing, dice, {1, 1, 1}, 6, -0.44, -0.18);
  for (int i = 0; i < 12; ++i) {  // light on the water
    const float x = between(dice, -far_side, far_side), y = between(dice, b.horizon_y + 0.02, shore - 0.03);
    b.drawing.add(Paint{{0.80f, 0.94f, 1.0f}, 0.55f}, {segment({x - 0.06f, y}, {x + 0.06f, y}, 0.006f)});
  }
  if (dice.chance(0.6)) {  // a sailing boat
    const float x = between(dice, 0.26, 0.40) * (dice.chance(0.5) ? 1.0f : -1.0f), y = b.horizon_y + 0.015f;
    b.drawing.add(tinted(dice, {0.98f, 0.98f, 0.95f}, 0.02), {polygon({{x, y - 0.02f}, {x, y - 0.16f}, {x + 0.085f, y - 0.02f}})});
    b.drawing.add(Colour{0.85f, 0.25f, 0.2f}, {polygon({{x - 0.012f, y - 0.02f}, {x - 0.012f, y - 0.12f}, {x - 0.06f, y - 0.02f}})});
    b.drawing.add(Colour{0.35f, 0.2f, 0.12f}, {polygon({{x - 0.08f, y - 0.01f}, {x + 0.10f, y - 0.01f}, {x + 0.06f, y + 0.025f}, {x - 0.05f, y + 0.025f}})});
  }
  Paint sand_paint{sand};
  sand_paint.shade_y = -0.35f;
  std::vector<Primitive> dunes{box(0, shore + 0.55f, far_side, 0.5f)}, foam{box(0, shore + 0.535f, far_side, 0.5f)};
  for (int i = 0; i < 9; ++i) {
    const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.2, 0.8)) / 9, w = between(dice, 0.2, 0.35);
    dunes.push_back(blended(ellipse(x, shore + 0.07f, w, 0.07f), 0.04f));
    foam.push_back(blended(ellipse(x, shore + 0.052f, w + 0.02f, 0.07f), 0.04f));
  }
  b.drawing.add(Paint{{0.93f, 0.98f, 1.0f}}, foam);
  sand_paint.shade_y = 0;
  b.drawing.add(sand_paint, dunes);
  if (dice.chance(0.65)) {  // an umbrella
    const float x = between(dice, 0.30, 0.43) * (dice.chance(0.5) ? 1.0f : -1.0f), y = shore + between(dice, -0.10, -0.02), r = between(dice, 0.12, 0.16);
    b.drawing.add(Colour{0.92f, 0.9f, 0.85f}, {segment({x, y}, {x + 0.02f, y + 0.28f}, 0.010f)});
    Paint cloth{from_hsv(between(dice, 0, 1), 0.75f, 0.92f)};
    cloth.pattern = Paint::Pattern::columns;
    cloth.second = {0.98f, 0.97f, 0.93f};
    cloth.pitch = 0.11f;
    b.drawing.add(cloth, {ellipse(x, y, r, 0.75f * r), within(above(y))});
  }
  return b;
}

Backdrop forest(Dice& dice) {
  Backdrop b;
  b.top = tinted(dice, {0.10f, 0.30f, 0.14f}, 0.04);
  b.horizon = tinted(dice, {0.42f, 0.66f, 0.30f});
  b.horizon_y = between(dice, 0.20, 0.30);
  b.ground = tinted(dice, {0.16f, 0.36f, 0.12f}, 0.04);
  const Colour bark = tinted(dice, {0.36f, 0.22f, 0.12f}, 0.04);
  for (int layer = 0; layer < 2; ++layer) {  // far trunks are thin and pale
    const int count = layer == 0 ? 22 : 15;
    for (int i = 0; i < count; ++i) {
      const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.15, 0.85)) / static_cast<float>(count);
      const float half = layer == 0 ? between(dice, 0.010, 0.018) : between(dice, 0.028, 0.048);
      const float foot = b.horizon_y + (layer == 0 ? 0.02f : between(dice, 0.05, 0.12));
      Paint paint{layer == 0 ? mix(bark, b.horizon, 0.45f) : bark};
      paint.shade_x = -4.0f;
      b.drawing.add(paint, {box(x, foot - 1.0f, half, 1.0f)});
      if (layer == 1) b.drawing.add(scaled(bark, 0.7f), {segment({x, foot - 0.35f}, {x + (dice.chance(0.5) ? 0.11f : -0.11f), foot - 0.45f}, 0.014f)});
    }
  }
  std::vector<Primitive> crowns, lights;
  for (int i = 0; i < 22; ++i) {
    const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.1, 0.9)) / 22;
    const float y = between(dice, -0.56, -0.46), r = between(dice, 0.12, 0.19);
    crowns.push_back(circle(x, y, r));
    lights.push_back(ellipse(x - 0.03f, y - 0.04f, 0.6f * r, 0.5f * r));
  }
  crowns.push_back(box(0, -1.0f, far_side, 0.5f));
  const Colour leaves = tinted(dice, {0.14f, 0.46f, 0.16f});
  b.drawing.add(Paint{leaves}, crowns);
  b.drawing.add(Paint{mix(leaves, {0.6f, 0.85f, 0.3f}, 0.35f)}, lights);
  std::vector<Primitive> bushes;
  for (int i = 0; i < 14; ++i)
    bushes.push_back(
        ellipse(between(dice, -far_side, far_side), b.horizon_y + between(dice, 0.08, 0.22), between(dice, 0.07, 0.13), between(dice, 0.05, 0.08)));
  Paint bush{tinted(dice, {0.20f, 0.52f, 0.18f})};
  bush.rim = 0.25f;
  bush.rim_depth = 0.05f;
  b.drawing.add(bush, bushes);
  for (int i = 0; i < 10; ++i) {  // flowers or mushrooms
    const float x = between(dice, -far_side, far_side), y = b.horizon_y + between(dice, 0.10, 0.24);
    b.drawing.add(from_hsv(between(dice, 0, 1), 0.6f, 0.98f), {circle(x, y, 0.016f)});
  }
  return b;
}

Backdrop city(Dice& dice) {
  Backdrop b;
  const bool night = dice.chance(0.4);
  b.top = tinted(dice, night ? Colour{0.10f, 0.11f, 0.28f} : Colour{0.50f, 0.58f, 0.85f});
  b.horizon = tinted(dice, night ? Colour{0.40f, 0.30f, 0.50f} : Colour{0.85f, 0.84f, 0.90f});
  b.horizon_y = 0.34f;
  b.ground = tinted(dice, {0.30f, 0.30f, 0.33f}, 0.03);
  if (night) b.drawing.add(Colour{0.97f, 0.95f, 0.82f}, {circle(between(dice, -0.4, 0.4), between(dice, -0.42, -0.34), 0.06f)});
  for (int layer = 0; layer < 2; ++layer) {
    float x = -far_side;
    const Colour tone = tinted(dice, night ? Colour{0.22f, 0.22f, 0.36f} : Colour{0.42f, 0.42f, 0.54f}, 0.04);
    while (x < far_side) {
      const float w = between(dice, 0.13, 0.22), top = layer == 0 ? between(dice, -0.38, -0.10) : between(dice, -0.22, 0.08);
      Paint paint{layer == 0 ? mix(tone, b.horizon, 0.35f) : tinted(dice, tone, 0.05)};
      paint.pattern = Paint::Pattern::windows;
      paint.second = layer == 0 ? mix(paint.colour, {1.0f, 0.9f, 0.6f}, 0.5f) : Colour{1.0f, 0.88f, 0.52f};
      paint.pitch = w / std::round(w / 0.055f);
      paint.seed = static_cast<std::uint32_t>(dice.bits());
      const float right = x + w, bottom = b.horizon_y + 0.05f;
      b.drawing.add(paint, {box((x + right) / 2, (top + bottom) / 2, w / 2, (bottom - top) / 2)});
      if (dice.chance(0.25)) b.drawing.add(paint.colour, {segment({x + w / 2, top}, {x + w / 2, top - 0.09f}, 0.007f)});
      x = right + (dice.chance(0.35) ? between(dice, 0.01, 0.06) : 0.0f);
    }
  }
  b.drawing.add(b.ground, {box(0, b.horizon_y + 0.5f, far_side, 0.48f)});
  b.drawing.add(mix(b.ground, {1, 1, 1}, 0.3f), {box(0, b.horizon_y + 0.03f, far_side, 0.012f)});
  return b;
}

Backdrop snow(Dice& dice) {
  Backdrop b;
  b.top = tinted(dice, {0.62f, 0.76f, 0.90f}, 0.04);
  b.horizon = tinted(dice, {0.90f, 0.95f, 0.99f}, 0.02);
  b.horizon_y = between(dice, 0.16, 0.24);
  b.ground = {0.95f, 0.97f, 1.0f};
  const Colour rock = tinted(dice, {0.48f, 0.56f, 0.68f}, 0.04);
  for (int i = 0; i < 7; ++i) {
    const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.2, 0.8)) / 7;
    const float top = between(dice, -0.42, -0.20), half = between(dice, 0.32, 0.5), foot = b.horizon_y + 0.02f, height = foot - top;
    Paint paint{tinted(dice, rock, 0.03)};
    paint.shade_x = -0.5f;
    b.drawing.add(paint, {polygon({{x - half, foot}, {x, top}, {x + half, foot}})});
    const float cap = 0.36f;
    b.drawing.add(Colour{0.98f, 0.99f, 1.0f}, {polygon({{x - cap * half, top + cap * height}, {x, top}, {x + cap * half, top + cap * height}}),
                                               minus(polygon({{x - 0.5f * cap * half, top + cap * height + 0.001f},
                                                              {x - 0.15f * cap * half, top + 0.7f * cap * height},
                                                              {x + 0.1f * cap * half, top + cap * height + 0.001f}}))});
  }
  std::vector<Primitive> drifts{box(0, b.horizon_y + 0.52f, far_side, 0.5f)};
  for (int i = 0; i < 8; ++i)
    drifts.push_back(blended(ellipse(between(dice, -far_side, far_side), b.horizon_y + 0.06f, between(dice, 0.25, 0.45), between(dice, 0.06, 0.10)), 0.05f));
  Paint ground{b.ground};
  ground.rim = 0.10f;
  ground.rim_depth = 0.08f;
  b.drawing.add(ground, drifts);
  for (int i = 0; i < 11; ++i) {
    const float x = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.1, 0.9)) / 11;
    const float foot = b.horizon_y + between(dice, 0.03, 0.13), h = between(dice, 0.20, 0.34);
    const Colour needles = tinted(dice, {0.12f, 0.36f, 0.28f}, 0.04);
    b.drawing.add(Colour{0.35f, 0.24f, 0.16f}, {box(x, foot, 0.014f, 0.03f)});
    for (int level = 0; level < 3; ++level) {
      const float bottom = foot - 0.02f - 0.27f * h * static_cast<float>(level), half = 0.36f * h * (1 - 0.24f * static_cast<float>(level));
      b.drawing.add(needles, {polygon({{x - half, bottom}, {x, bottom - 0.46f * h}, {x + half, bottom}})});
      b.drawing.add(Colour{0.95f, 0.97f, 1.0f},
                    {polygon({{x - 0.5f * half, bottom - 0.23f * h}, {x, bottom - 0.46f * h}, {x + 0.5f * half, bottom - 0.23f * h}})});
    }
  }
  std::vector<Primitive> flakes;
  for (int i = 0; i < 90; ++i) flakes.push_back(circle(between(dice, -1.3, 1.3), between(dice, -0.75, 0.6), between(dice, 0.009, 0.016)));
  for (const auto& flake : flakes) b.drawing.add(Paint{{1, 1, 1}, 0.9f}, {flake});
  return b;
}

Backdrop sunset(Dice& dice) {
  Backdrop b;
  b.top = tinted(dice, {0.32f, 0.12f, 0.44f});
  b.horizon = tinted(dice, {1.0f, 0.56f, 0.22f}, 0.04);
  b.horizon_y = between(dice, 0.16, 0.24);
  b.ground = tinted(dice, {0.18f, 0.08f, 0.20f}, 0.03);
  const float x = between(dice, 0.20, 0.38) * (dice.chance(0.5) ? 1.0f : -1.0f), y = between(dice, -0.08, 0.10), r = between(dice, 0.11, 0.15);
  Paint glow{{1.0f, 0.85f, 0.40f}, 0.55f};
  glow.softness = 0.2f;
  b.drawing.add(glow, {circle(x, y, r + 0.05f)});
  b.drawing.add(Colour{1.0f, 0.92f, 0.52f}, {circle(x, y, r)});
  for (int i = 0; i < 12; ++i) {
    const float cx = between(dice, -far_side, far_side), cy = between(dice, -0.46, 0.0), w = between(dice, 0.12, 0.24);
    b.drawing.add(Paint{tinted(dice, {0.86f, 0.36f, 0.42f}, 0.06), 0.75f}, {ellipse(cx, cy, w, 0.022f), ellipse(cx + 0.4f * w, cy - 0.018f, 0.5f * w, 0.020f)});
  }
  for (int layer = 0; layer < 2; ++layer) {
    std::vector<Primitive> hills{box(0, b.horizon_y + 0.56f, far_side, 0.5f)};
    for (int i = 0; i < 8; ++i) {
      const float cx = -far_side + 2 * far_side * (static_cast<float>(i) + between(dice, 0.1, 0.9)) / 8;
      hills.push_back(
          blended(ellipse(cx, b.horizon_y + 0.10f + 0.08f * static_cast<float>(layer), between(dice, 0.25, 0.45), between(dice, 0.08, 0.16)), 0.06f));
    }
    b.drawing.add(Paint{layer == 0 ? mix(b.ground, b.horizon, 0.22f) : b.ground}, hills);
  }
  if (dice.chance(0.6)) {  // birds
    for (int i = 0; i < 4; ++i) {
      const float bx = between(dice, -0.45, 0.45), by = between(dice, -0.44, -0.30);
      b.drawing.add(Colour{0.14f, 0.06f, 0.16f},
                    {segment({bx, by}, {bx - 0.04f, by - 0.022f}, 0.009f, 0.004f), segment({bx, by}, {bx + 0.04f, by - 0.022f}, 0.009f, 0.004f)});
    }
  }
  b.light = {1.02f, 0.93f, 0.88f};
  return b;
}

Backdrop room(Dice& dice) {
  Backdrop b;
  const Colour walls[] = {{0.90f, 0.82f, 0.68f}, {0.74f, 0.83f, 0.78f}, {0.88f, 0.72f, 0.70f}, {0.72f, 0.78f, 0.90f}, {0.86f, 0.86f, 0.80f}};
  const Colour wall = tinted(dice, walls[dice.below(5)], 0.04);
  b.top = scaled(wall, 0.92f);
  b.horizon = scaled(wall, 1.03f);
  b.horizon_y = between(dice, 0.26, 0.34);
  const Colour wood = tinted(dice, {0.52f, 0.32f, 0.18f});
  b.ground = wood;
  if (dice.chance(0.5)) {  // wallpaper
    Paint paper{wall, 0.5f};
    paper.pattern = Paint::Pattern::columns;
    paper.second = scaled(wall, 0.86f);
    paper.pitch = between(dice, 0.07, 0.12);
    b.drawing.add(paper, {box(0, b.horizon_y - 1.0f, far_side, 1.0f)});
  }
  b.drawing.add(scaled(wood, 0.7f), {box(0, b.horizon_y, far_side, 0.016f)});
  for (int i = 0; i < 16; ++i) {
    const float x = -far_side + 2 * far_side * static_cast<float>(i) / 16;
    b.drawing.add(scaled(wood, 0.85f), {segment({0.6f * x, b.horizon_y + 0.02f}, {x, b.horizon_y + 0.6f}, 0.005f)});
  }
  const float side = dice.chance(0.5) ? 1.0f : -1.0f;
  {  // the window
    const float x = side * between(dice, 0.32, 0.38), y = between(dice, -0.26, -0.18), hx = between(dice, 0.11, 0.14), hy = between(dice, 0.14, 0.18);
    b.drawing.add(Colour{0.97f, 0.96f, 0.93f}, {box(x, y, hx + 0.022f, hy + 0.022f, 0.01f)});
    Paint sky{tinted(dice, {0.55f, 0.80f, 0.97f})};
    sky.shade_y = 0.6f;
    b.drawing.add(sky, {box(x, y, hx, hy)});
    b.drawing.add(tinted(dice, {0.40f, 0.68f, 0.35f}), {ellipse(x, y + hy, 1.2f * hx, 0.5f * hy), within(box(x, y, hx, hy))});
    b.drawing.add(Colour{0.97f, 0.96f, 0.93f}, {box(x, y, 0.010f, hy), box(x, y, hx, 0.010f)});
    if (dice.chance(0.6)) {
      const Colour cloth = from_hsv(between(dice, 0, 1), 0.5f, 0.85f);
      b.drawing.add(
          cloth,
          {polygon({{x - hx - 0.03f, y - hy - 0.03f}, {x - 0.3f * hx, y - hy - 0.03f}, {x - hx - 0.01f, y + hy + 0.04f}, {x - hx - 0.05f, y + hy + 0.04f}}),
           polygon({{x + 0.3f * hx, y - hy - 0.03f}, {x + hx + 0.03f, y - hy - 0.03f}, {x + hx + 0.05f, y + hy + 0.04f}, {x + hx + 0.01f, y + hy + 0.04f}})});
    }
  }
  {  // a picture on the other side
    const float x = -side * between(dice, 0.30, 0.38), y = between(dice, -0.30, -0.18), hx = between(dice, 0.08, 0.12), hy = between(dice, 0.07, 0.11);
    const float hue = between(dice, 0, 1);
    b.drawing.add(tinted(dice, {0.42f, 0.28f, 0.12f}), {box(x, y, hx + 0.02f, hy + 0.02f, 0.008f)});
    b.drawing.add(from_hsv(hue, 0.35f, 0.92f), {box(x, y, hx, hy)});
    b.drawing.add(from_hsv(std::fmod(hue + 0.45f, 1.0f), 0.6f, 0.7f), {circle(x, y + 0.01f, 0.5f * hy)});
  }
  if (dice.chance(0.6)) {  // a plant
    const float x = -side * between(dice, 0.34, 0.44), y = b.horizon_y;
    for (int i = -2; i <= 2; ++i) {
      const float lean = 0.05f * static_cast<float>(i);
      b.drawing.add(tinted(dice, {0.18f, 0.52f, 0.24f}), {segment({x, y - 0.04f}, {x + lean, y - 0.20f + 0.5f * std::fabs(lean)}, 0.012f, 0.026f)});
    }
    b.drawing.add(tinted(dice, {0.75f, 0.40f, 0.26f}),
                  {polygon({{x - 0.06f, y - 0.06f}, {x + 0.06f, y - 0.06f}, {x + 0.04f, y + 0.06f}, {x - 0.04f, y + 0.06f}})});
  }
  b.light = {1.0f, 0.98f, 0.95f};
  return b;
}

}  // namespace

Colour Backdrop::base(float y, float pixel) const {
  const float t = std::clamp((y + 0.5f) / (horizon_y + 0.5f), 0.0f, 1.0f);
  return mix(mix(top, horizon, t), ground, std::clamp(0.5f + (y - horizon_y) / pixel, 0.0f, 1.0f));
}

Backdrop make_backdrop(Background background, std::uint64_t variation) {
  Dice dice(variation, "miniature-background", static_cast<std::uint64_t>(background));
  const float exposure = between(dice, 0.93, 1.05);
  Backdrop b;
  switch (background) {
    case Background::beach: b = beach(dice); break;
    case Background::forest: b = forest(dice); break;
    case Background::city: b = city(dice); break;
    case Background::snow: b = snow(dice); break;
    case Background::sunset: b = sunset(dice); break;
    case Background::room: b = room(dice); break;
  }
  b.light = {b.light.red * exposure, b.light.green * exposure, b.light.blue * exposure};
  return b;
}

}  // namespace magicid::miniature
