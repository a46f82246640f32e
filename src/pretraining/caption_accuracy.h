// Whether a word of a caption can be told from pictures: the right one against every other that could stand in its place.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "miniature/world.h"

namespace magicid::pretraining {

enum class CaptionPart { action, speed, camera, background };

// Captions -> features [N,D] of an image-text pair, rows of length 1, on the CPU.
using TextFeatures = std::function<at::Tensor(const std::vector<std::string>& captions)>;

struct CaptionFigures {
  double accuracy = 0;  // share of scenes whose own word is the nearest
  double margin = 0;    // mean cosine of the own word above the others' mean
};

// Row i of `pictures` [N,D], of length 1, shows scenes[i]. Scenes without the word (the speed of one who stands still) are left out. Source: as zero-shot
// classification of CLIP (Radford et al., arXiv:2103.00020).
CaptionFigures tell_apart(CaptionPart part, const std::vector<miniature::Scene>& scenes, const at::Tensor& pictures, const TextFeatures& texts);

}  // namespace magicid::pretraining
