// What captions call a person, beyond what the world's own say.
#pragma once

#include <cstdint>
#include <string>

#include "miniature/dice.h"
#include "miniature/world.h"

namespace magicid::pretraining {

// The tokens of a caption that the transformer sees: more than any caption has.
inline constexpr std::int64_t prompt_tokens = 64;

struct CaptionSubject {
  std::string text;        // without article: "person", "sks person", "person with brown skin and ..."
  bool described = false;  // names the person's looks
};
// What a caption calls a person: mostly "person", sometimes with the trigger word or with a description.
CaptionSubject draw_subject(const miniature::Person& person, const std::string& trigger, miniature::Dice& dice);

}  // namespace magicid::pretraining
