#include <array>
#include <set>
#include <sstream>

#include "miniature/palette.h"
#include "miniature/world.h"

namespace magicid::miniature {
namespace {

template <class Enum, std::size_t N>
const char* word(const std::array<const char*, N>& words, Enum value) {
  return words.at(static_cast<std::size_t>(value));
}

constexpr std::array<const char*, actions> action_words{"stands still", "moves left",      "moves right", "jumps",
                                                        "nods",         "shakes the head", "sways",       "tilts the head"};
constexpr std::array<const char*, speeds> speed_words{"slowly", "steadily", "quickly"};
constexpr std::array<const char*, backgrounds> place_words{"on the beach", "in the forest", "in the city", "in the snow", "at sunset", "in a room"};
constexpr std::array<const char*, cameras> camera_words{"", "the camera zooms in", "the camera zooms out", "the camera pans left", "the camera pans right"};
constexpr std::array<const char*, 8> hair_words{"", "short", "long", "bob", "curly", "spiky", "mohawk", "bun"};
constexpr std::array<const char*, 4> beard_words{"", "a moustache", "a goatee", "a beard"};
constexpr std::array<const char*, 4> hat_words{"", "cap", "beanie", "top hat"};
constexpr std::array<const char*, 4> glasses_words{"", "round glasses", "square glasses", "dark glasses"};
constexpr std::array<const char*, 5> mark_words{"", "a scar", "freckles", "a dot on the forehead", "blushing cheeks"};

std::string with_article(const std::string& phrase) { return (phrase.find_first_of("aeiou") == 0 ? "an " : "a ") + phrase; }

// A hat flattens spikes and buns, and hides a mohawk.
std::string hair_phrase(const Person& p) {
  HairStyle shown = p.hair_style;
  if (p.hat != Hat::none) {
    if (shown == HairStyle::mohawk) shown = HairStyle::bald;
    if (shown == HairStyle::spiky || shown == HairStyle::bun) shown = HairStyle::short_hair;
  }
  if (shown == HairStyle::bald) return p.hat == Hat::none ? "a bald head" : "no hair";
  const std::string colour = nearest_name(hair_colours(), p.hair), style = word(hair_words, shown);
  switch (shown) {
    case HairStyle::bob:
    case HairStyle::mohawk:
    case HairStyle::bun: return with_article(colour + " " + style);
    default: return style + " " + colour + " hair";
  }
}

}  // namespace

std::string caption(const Scene& scene, const std::string& subject) {
  std::string text = with_article(subject) + " " + word(action_words, scene.action);
  if (scene.action != Action::stands_still) text += std::string(" ") + word(speed_words, scene.speed);
  text += std::string(" ") + word(place_words, scene.background);
  if (scene.camera != Camera::still) text += std::string(", ") + word(camera_words, scene.camera);
  return text;
}

std::string photo_caption(const Scene& scene, const std::string& subject) {
  return "a photo of " + with_article(subject) + " " + word(place_words, scene.background);
}

std::string describe_person(const Person& p) {
  std::vector<std::string> parts{std::string(nearest_name(skin_colours(), p.skin)) + " skin", hair_phrase(p)};
  if (p.glasses != Glasses::none) parts.emplace_back(word(glasses_words, p.glasses));
  if (p.beard != Beard::none) parts.emplace_back(word(beard_words, p.beard));
  if (p.hat != Hat::none) parts.push_back(with_article(std::string(nearest_name(hat_colours(), p.hat_colour)) + " " + word(hat_words, p.hat)));
  if (p.mark != Mark::none) parts.emplace_back(word(mark_words, p.mark));
  std::string text = "person with " + parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) text += (i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

std::vector<std::string> caption_words() {
  std::set<std::string> words{"a", "an", "person", "with", "skin", "bald", "head", "hair", "no", "and", "photo", "of"};
  const auto add = [&](const std::string& phrase) {
    std::istringstream in(phrase);
    for (std::string w; in >> w;) words.insert(w);
  };
  for (const auto* w : action_words) add(w);
  for (const auto* w : speed_words) add(w);
  for (const auto* w : place_words) add(w);
  for (const auto* w : camera_words) add(w);
  for (const auto* w : hair_words) add(w);
  for (const auto* w : beard_words) add(w);
  for (const auto* w : hat_words) add(w);
  for (const auto* w : glasses_words) add(w);
  for (const auto* w : mark_words) add(w);
  for (const auto& colours : {skin_colours(), hair_colours(), hat_colours()}) {
    for (const auto& c : colours) add(c.name);
  }
  return {words.begin(), words.end()};
}

}  // namespace magicid::miniature
