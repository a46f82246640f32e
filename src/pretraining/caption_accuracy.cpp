#include "pretraining/caption_accuracy.h"

#include <ATen/ops/matmul.h>

#include "base/errors.h"

namespace magicid::pretraining {
namespace {

int words_of(CaptionPart part) {
  switch (part) {
    case CaptionPart::action: return miniature::actions;
    case CaptionPart::speed: return miniature::speeds;
    case CaptionPart::camera: return miniature::cameras;
    case CaptionPart::background: return miniature::backgrounds;
  }
  return 0;
}

int word_of(CaptionPart part, const miniature::Scene& scene) {
  switch (part) {
    case CaptionPart::action: return static_cast<int>(scene.action);
    case CaptionPart::speed: return static_cast<int>(scene.speed);
    case CaptionPart::camera: return static_cast<int>(scene.camera);
    case CaptionPart::background: return static_cast<int>(scene.background);
  }
  return 0;
}

miniature::Scene with_word(CaptionPart part, miniature::Scene scene, int word) {
  switch (part) {
    case CaptionPart::action: scene.action = static_cast<miniature::Action>(word); break;
    case CaptionPart::speed: scene.speed = static_cast<miniature::Speed>(word); break;
    case CaptionPart::camera: scene.camera = static_cast<miniature::Camera>(word); break;
    case CaptionPart::background: scene.background = static_cast<miniature::Background>(word); break;
  }
  return scene;
}

}  // namespace

CaptionFigures tell_apart(CaptionPart part, const std::vector<miniature::Scene>& scenes, const at::Tensor& pictures, const TextFeatures& texts) {
  base::check_invariant(pictures.dim() == 2 && pictures.size(0) == static_cast<std::int64_t>(scenes.size()), "caption accuracy: ", scenes.size(),
                        " scenes and pictures of shape ", pictures.sizes());
  CaptionFigures figures;
  const int count = words_of(part);
  double all = 0;
  for (std::size_t i = 0; i < scenes.size(); ++i) {
    if (part == CaptionPart::speed && scenes[i].action == miniature::Action::stands_still) continue;
    std::vector<std::string> variants;
    for (int word = 0; word < count; ++word) variants.push_back(miniature::caption(with_word(part, scenes[i], word)));
    const at::Tensor cosines = at::matmul(texts(variants), pictures[static_cast<std::int64_t>(i)]);
    const int own = word_of(part, scenes[i]);
    const double mine = cosines[own].item<double>();
    figures.accuracy += cosines.argmax().item<std::int64_t>() == own;
    figures.margin += mine - (cosines.sum().item<double>() - mine) / (count - 1);
    all += 1;
  }
  if (all == 0) return {};
  return {figures.accuracy / all, figures.margin / all};
}

}  // namespace magicid::pretraining
