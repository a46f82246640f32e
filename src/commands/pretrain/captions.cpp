#include "commands/pretrain/captions.h"

#include "base/errors.h"

namespace magicid::commands::pretrain {

Subject draw_subject(const miniature::Person& person, const std::string& trigger, miniature::Dice& dice) {
  constexpr double trigger_share = 0.15, description_share = 0.25;
  const double kind = dice.uniform();
  if (kind < trigger_share) return {trigger + " person", false};
  if (kind < trigger_share + description_share) return {miniature::describe_person(person), true};
  return {"person", false};
}

std::string photo_caption(const miniature::Scene& scene, const std::string& subject) {
  auto still = scene;
  still.action = miniature::Action::stands_still;
  still.camera = miniature::Camera::still;
  std::string text = miniature::caption(still, subject);
  const std::string action = " stands still";
  const auto at = text.find(action);
  base::check_invariant(at != std::string::npos, "the caption '", text, "' of a still scene does not say so");
  return "a photo of " + text.erase(at, action.size());
}

}  // namespace magicid::commands::pretrain
