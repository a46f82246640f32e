#include <algorithm>
#include <array>

#include "miniature/dice.h"
#include "miniature/palette.h"
#include "miniature/shapes.h"
#include "miniature/world.h"

namespace magicid::miniature {
namespace {

// The first `natural_skins` and `natural_hairs` are drawn more often than the fantasy colours behind them.
constexpr int natural_skins = 6;
constexpr std::array<NamedColour, 10> skins{{{"pale", {0.98f, 0.88f, 0.80f}},
                                             {"fair", {0.96f, 0.78f, 0.62f}},
                                             {"tanned", {0.86f, 0.64f, 0.44f}},
                                             {"olive", {0.78f, 0.66f, 0.42f}},
                                             {"brown", {0.60f, 0.39f, 0.24f}},
                                             {"dark", {0.36f, 0.22f, 0.14f}},
                                             {"green", {0.52f, 0.78f, 0.42f}},
                                             {"blue", {0.48f, 0.68f, 0.94f}},
                                             {"purple", {0.71f, 0.56f, 0.88f}},
                                             {"grey", {0.68f, 0.70f, 0.72f}}}};
constexpr int natural_hairs = 6;
constexpr std::array<NamedColour, 11> hairs{{{"black", {0.09f, 0.08f, 0.10f}},
                                             {"brown", {0.36f, 0.21f, 0.10f}},
                                             {"red", {0.78f, 0.27f, 0.08f}},
                                             {"blond", {0.95f, 0.79f, 0.32f}},
                                             {"grey", {0.58f, 0.58f, 0.60f}},
                                             {"white", {0.95f, 0.95f, 0.95f}},
                                             {"pink", {0.98f, 0.45f, 0.70f}},
                                             {"blue", {0.15f, 0.32f, 0.88f}},
                                             {"green", {0.12f, 0.62f, 0.26f}},
                                             {"purple", {0.50f, 0.16f, 0.66f}},
                                             {"turquoise", {0.12f, 0.76f, 0.76f}}}};
constexpr std::array<NamedColour, 6> eyes{{{"brown", {0.38f, 0.20f, 0.08f}},
                                           {"blue", {0.16f, 0.45f, 0.90f}},
                                           {"green", {0.15f, 0.60f, 0.25f}},
                                           {"black", {0.07f, 0.06f, 0.08f}},
                                           {"amber", {0.85f, 0.55f, 0.10f}},
                                           {"violet", {0.55f, 0.25f, 0.80f}}}};
constexpr std::array<NamedColour, 7> hats{{{"red", {0.82f, 0.13f, 0.13f}},
                                           {"blue", {0.14f, 0.28f, 0.72f}},
                                           {"green", {0.13f, 0.48f, 0.24f}},
                                           {"yellow", {0.96f, 0.78f, 0.15f}},
                                           {"black", {0.13f, 0.13f, 0.15f}},
                                           {"white", {0.93f, 0.93f, 0.90f}},
                                           {"orange", {0.95f, 0.48f, 0.10f}}}};
constexpr std::array<Colour, 6> lips{
    {{0.80f, 0.22f, 0.25f}, {0.68f, 0.12f, 0.18f}, {0.90f, 0.42f, 0.45f}, {0.55f, 0.16f, 0.28f}, {0.92f, 0.30f, 0.20f}, {0.62f, 0.30f, 0.26f}}};
constexpr std::array<Colour, 6> frames{
    {{0.08f, 0.08f, 0.10f}, {0.75f, 0.10f, 0.12f}, {0.93f, 0.90f, 0.85f}, {0.12f, 0.25f, 0.70f}, {0.85f, 0.62f, 0.12f}, {0.10f, 0.50f, 0.35f}}};

// A shade of the colour, near enough to keep its name.
Colour varied(Dice& dice, const Colour& c, double amount) {
  const double light = dice.uniform(-amount, amount);
  const auto channel = [&](float v) { return static_cast<float>(std::clamp(v + light + dice.uniform(-amount, amount) * 0.4, 0.0, 1.0)); };
  const float red = channel(c.red), green = channel(c.green), blue = channel(c.blue);
  return {red, green, blue};
}

template <std::size_t N>
const Colour& pick(Dice& dice, const std::array<NamedColour, N>& colours, int natural, double fantasy) {
  const bool natural_one = !dice.chance(fantasy);
  const int i = natural_one ? dice.below(natural) : natural + dice.below(static_cast<int>(N) - natural);
  return colours[static_cast<std::size_t>(i)].colour;
}

// Index of a choice with the given weights.
int weighted(Dice& dice, std::initializer_list<double> weights) {
  double total = 0;
  for (const double w : weights) total += w;
  double left = dice.uniform(0, total);
  int i = 0;
  for (const double w : weights) {
    if (left < w) return i;
    left -= w;
    ++i;
  }
  return static_cast<int>(weights.size()) - 1;
}

}  // namespace

std::span<const NamedColour> skin_colours() { return skins; }
std::span<const NamedColour> hair_colours() { return hairs; }
std::span<const NamedColour> eye_colours() { return eyes; }
std::span<const NamedColour> hat_colours() { return hats; }

const char* nearest_name(std::span<const NamedColour> names, const Colour& c) {
  const auto distance = [&](const NamedColour& n) {
    const float r = n.colour.red - c.red, g = n.colour.green - c.green, b = n.colour.blue - c.blue;
    return r * r + g * g + b * b;
  };
  return std::min_element(names.begin(), names.end(), [&](const auto& x, const auto& y) { return distance(x) < distance(y); })->name;
}

Person make_person(std::uint64_t seed, Split split, std::int64_t index) {
  Dice dice(seed, split == Split::train ? "miniature-person-train" : "miniature-person-test", static_cast<std::uint64_t>(index));
  Person p;
  p.skin = varied(dice, pick(dice, skins, natural_skins, 0.25), 0.035);
  p.hair = varied(dice, pick(dice, hairs, natural_hairs, 0.4), 0.04);
  p.eyes = varied(dice, eyes[static_cast<std::size_t>(dice.below(static_cast<int>(eyes.size())))].colour, 0.03);
  p.lips = varied(dice, lips[static_cast<std::size_t>(dice.below(static_cast<int>(lips.size())))], 0.03);
  p.hat_colour = varied(dice, hats[static_cast<std::size_t>(dice.below(static_cast<int>(hats.size())))].colour, 0.03);
  p.glasses_colour = frames[static_cast<std::size_t>(dice.below(static_cast<int>(frames.size())))];
  p.hair_style = static_cast<HairStyle>(weighted(dice, {0.9, 1.4, 1.4, 1.2, 1.2, 1.0, 0.9, 1.0}));
  p.beard = static_cast<Beard>(weighted(dice, {3.2, 0.9, 0.8, 1.1}));
  p.hat = static_cast<Hat>(weighted(dice, {3.6, 0.8, 0.8, 0.6}));
  p.glasses = static_cast<Glasses>(weighted(dice, {2.6, 1.0, 1.0, 0.8}));
  p.mark = static_cast<Mark>(weighted(dice, {2.4, 0.8, 0.8, 0.6, 0.8}));
  for (float* f :
       {&p.face_width, &p.jaw, &p.eye_distance, &p.eye_size, &p.eye_height, &p.brow_thickness, &p.brow_angle, &p.nose_size, &p.mouth_width, &p.ear_size}) {
    *f = static_cast<float>(dice.uniform(-1, 1));
  }
  return p;
}

}  // namespace magicid::miniature
