#include "models/text/subject.h"

namespace magicid::models::text {
namespace {

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) text.replace(at, what.size(), by);
  return text;
}

std::string in_full(const SubjectWords& subject) { return subject.trigger + " " + subject.class_name; }

}  // namespace

std::string render_prompt(const std::string& prompt_template, const SubjectWords& subject, bool with_trigger) {
  return replaced(prompt_template, "{subject}", with_trigger ? in_full(subject) : subject.class_name);
}

std::string without_trigger(const std::string& prompt, const SubjectWords& subject) {
  return replaced(render_prompt(prompt, subject, false), in_full(subject), subject.class_name);
}

}  // namespace magicid::models::text
