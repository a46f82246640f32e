// Non-dominated sorting. All objectives are maximised.
#pragma once

#include <vector>

namespace magicid::preference {

// True when `a` is at least as good as `b` in every objective and better in one.
bool dominates(const std::vector<double>& a, const std::vector<double>& b);

// The front of each point: 0 for the points that no other dominates, 1 for those that only front 0 dominates, and so on. Equal points
// share a front. O(objectives * points^2). Source: fast non-dominated sort, Deb et al. 2002 (NSGA-II), section III-A.
// Throws InvariantError for NaN or points of different length.
std::vector<int> non_dominated_fronts(const std::vector<std::vector<double>>& points);

}  // namespace magicid::preference
