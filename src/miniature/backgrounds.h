#pragma once

#include "miniature/shapes.h"

namespace magicid::miniature {

struct Backdrop {
  Colour top, horizon, ground;  // the sky's two ends (from y = -0.5 to `horizon_y`), and what lies below
  float horizon_y = 0.2f;
  Drawing drawing;        // over them, in scene coordinates; it reaches at least two units to both sides
  Colour light{1, 1, 1};  // colours of the whole picture are multiplied by it

  Colour base(float y, float pixel) const;
};

// The place and its details: a function of both.
Backdrop make_backdrop(Background background, std::uint64_t variation);

}  // namespace magicid::miniature
