#include "pretraining/captions.h"

namespace magicid::pretraining {

CaptionSubject draw_subject(const miniature::Person& person, const std::string& trigger, miniature::Dice& dice) {
  constexpr double trigger_share = 0.15, description_share = 0.25;
  const double kind = dice.uniform();
  if (kind < trigger_share) return {trigger + " person", false};
  if (kind < trigger_share + description_share) return {miniature::describe_person(person), true};
  return {"person", false};
}

}  // namespace magicid::pretraining
