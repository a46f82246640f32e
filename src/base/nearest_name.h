// "did you mean ...": the valid name that a misspelt one is closest to.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace magicid::base {

// Number of insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment), bytewise.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest distance, ignoring case, the first of equals; empty when none is near enough (more than a third of
// the longer name would have to change) to be a likely intention.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace magicid::base
