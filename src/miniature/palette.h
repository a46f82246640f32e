// The named colours that people are drawn with; captions name a colour by the nearest of its list.
#pragma once

#include <span>
#include <string>

#include "miniature/world.h"

namespace magicid::miniature {

struct NamedColour {
  const char* name;
  Colour colour;
};

std::span<const NamedColour> skin_colours();
std::span<const NamedColour> hair_colours();
std::span<const NamedColour> eye_colours();
std::span<const NamedColour> hat_colours();

const char* nearest_name(std::span<const NamedColour> names, const Colour& colour);

}  // namespace magicid::miniature
