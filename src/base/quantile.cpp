#include "base/quantile.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace magicid::base {

double quantile(std::vector<double> values, double q) {
  check_invariant(!values.empty(), "quantile of an empty list");
  check_invariant(q >= 0 && q <= 1, "quantile ", q, " outside 0..1");
  for (double value : values) check_invariant(!std::isnan(value), "quantile of NaN");
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

}  // namespace magicid::base
