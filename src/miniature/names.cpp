#include "miniature/names.h"

#include <array>
#include <cstddef>

namespace magicid::miniature {

const char* name_of(Split split) { return split == Split::train ? "train" : "test"; }

const char* name_of(Action action) {
  static constexpr std::array<const char*, actions> names{"stands_still", "moves_left", "moves_right", "jumps", "nods", "shakes_head", "sways", "spins_head"};
  return names.at(static_cast<std::size_t>(action));
}

const char* name_of(Speed speed) {
  static constexpr std::array<const char*, speeds> names{"slowly", "steadily", "quickly"};
  return names.at(static_cast<std::size_t>(speed));
}

const char* name_of(Background background) {
  static constexpr std::array<const char*, backgrounds> names{"beach", "forest", "city", "snow", "sunset", "room"};
  return names.at(static_cast<std::size_t>(background));
}

const char* name_of(Camera camera) {
  static constexpr std::array<const char*, cameras> names{"still", "zooms_in", "zooms_out", "pans_left", "pans_right"};
  return names.at(static_cast<std::size_t>(camera));
}

}  // namespace magicid::miniature
