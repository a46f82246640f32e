// The texts that networks of the small world are trained on, beyond the world's own captions.
#pragma once

#include <string>

#include "miniature/dice.h"
#include "miniature/world.h"

namespace magicid::commands::pretrain {

struct Subject {
  std::string text;        // without article: "person", "sks person", "person with brown skin and ..."
  bool described = false;  // names the person's looks
};
// What a caption calls a person: mostly "person", sometimes with the trigger word or with a description.
Subject draw_subject(const miniature::Person& person, const std::string& trigger, miniature::Dice& dice);

// A caption of a single frame, which shows no action: "a photo of a person in the snow".
std::string photo_caption(const miniature::Scene& scene, const std::string& subject);

}  // namespace magicid::commands::pretrain
