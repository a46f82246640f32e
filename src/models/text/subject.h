// The person in a prompt: "a {subject} walks" is "a sks person walks" for a network that was taught the trigger word, "a person walks" for one that was not.
#pragma once

#include <string>

namespace magicid::models::text {

struct SubjectWords {
  std::string trigger = "sks";
  std::string class_name = "person";
};

// "{subject}" replaced by "trigger class" or, for a network that does not know the trigger, the class alone.
std::string render_prompt(const std::string& prompt_template, const SubjectWords& subject, bool with_trigger);

// A prompt for a network that knows no trigger, such as CLIP: {subject}, or trigger and class, replaced by the class alone.
std::string without_trigger(const std::string& prompt, const SubjectWords& subject);

}  // namespace magicid::models::text
