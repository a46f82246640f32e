// A person's head and body as drawings.
//
// Face coordinates: the crown is at y = -1, the chin at y = 1, x = 0 is the middle. The body's drawing uses the same unit and origin.
#pragma once

#include <array>

#include "miniature/shapes.h"

namespace magicid::miniature {

struct Figure {
  Drawing behind;  // hair that falls behind the body: moves with the head
  Drawing body;
  Drawing head;
  std::array<Vec, 5> landmarks;  // face coordinates, in the order of Clip::landmarks
  std::vector<Vec> outline;      // of the face from brows to chin and ear to ear
  float half_width = 0.8f;       // of the head
};

// `variation` chooses the clothes.
Figure make_figure(const Person& person, std::uint64_t variation);

}  // namespace magicid::miniature
