// Names that a user misspelt.
#pragma once

#include <string>
#include <vector>

namespace magicid::base {

// Levenshtein distance in bytes.
std::size_t edit_distance(const std::string& a, const std::string& b);
// The nearest of `known`, or an empty string when none is near (more than a third of the letters differ).
std::string nearest_name(const std::string& name, const std::vector<std::string>& known);
// " (did you mean 'x'?)", or nothing.
std::string did_you_mean(const std::string& name, const std::vector<std::string>& known);
// "a, b, c"; at most `limit` names, then "and N more".
std::string join_names(const std::vector<std::string>& names, std::size_t limit = 20);

}  // namespace magicid::base
