#include "models/generator/adaptable.h"

namespace magicid::models::generator {
namespace {

// Whether `pattern` from character p on matches `text` from character t on.
bool matches(const std::string& pattern, const std::string& text, std::size_t p = 0, std::size_t t = 0) {
  if (p == pattern.size()) return t == text.size();
  if (pattern[p] == '*') {
    for (std::size_t next = t; next <= text.size(); ++next)
      if (matches(pattern, text, p + 1, next)) return true;
    return false;
  }
  return t < text.size() && pattern[p] == text[t] && matches(pattern, text, p + 1, t + 1);
}

}  // namespace

bool names_linear(const std::string& target, const std::string& name_inside_block, const std::string& full_name) {
  return matches(target, name_inside_block) || matches(target, full_name);
}

}  // namespace magicid::models::generator
