#include "preference/fronts.h"

#include <cmath>

#include "base/errors.h"

namespace magicid::preference {

bool dominates(const std::vector<double>& a, const std::vector<double>& b) {
  bool better = false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] < b[i]) return false;
    better |= a[i] > b[i];
  }
  return better;
}

std::vector<int> non_dominated_fronts(const std::vector<std::vector<double>>& points) {
  const std::size_t n = points.size();
  for (const auto& point : points) {
    base::check_invariant(point.size() == points[0].size(), "non_dominated_fronts: points of different length");
    for (double value : point) base::check_invariant(!std::isnan(value), "non_dominated_fronts: NaN");
  }
  std::vector<std::vector<std::size_t>> dominated(n);
  std::vector<std::size_t> dominators(n, 0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      if (dominates(points[i], points[j])) {
        dominated[i].push_back(j);
        ++dominators[j];
      }
  std::vector<int> front(n, -1);
  std::vector<std::size_t> current;
  for (std::size_t i = 0; i < n; ++i)
    if (dominators[i] == 0) current.push_back(i);
  for (int level = 0; !current.empty(); ++level) {
    std::vector<std::size_t> next;
    for (std::size_t i : current) {
      front[i] = level;
      for (std::size_t j : dominated[i])
        if (--dominators[j] == 0) next.push_back(j);
    }
    current = std::move(next);
  }
  return front;
}

}  // namespace magicid::preference
