#include "rewards/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "base/quantile.h"
#include "base/random.h"

namespace magicid::rewards {
namespace {

void check_values(const std::vector<double>& values) {
  base::check_invariant(!values.empty(), "a summary of no values");
  base::check_invariant(std::none_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }), "a summary of values with NaN");
}

}  // namespace

Interval bootstrap_mean(const std::vector<double>& values, double confidence, std::int64_t resamples, std::uint64_t seed) {
  check_values(values);
  base::check_invariant(confidence > 0 && confidence < 1 && resamples >= 1, "bootstrap_mean needs a confidence inside (0,1) and a resample");
  const auto count = static_cast<double>(values.size());
  double mean = 0;
  for (double value : values) mean += value / count;
  if (values.size() == 1) return {mean, mean, mean};
  const base::CounterRandom random(seed, "bootstrap");
  std::vector<double> means(static_cast<std::size_t>(resamples));
  for (std::size_t r = 0; r < means.size(); ++r) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[random.below(values.size(), r, i)];
    means[r] = sum / count;
  }
  return {mean, base::quantile(means, (1 - confidence) / 2), base::quantile(means, (1 + confidence) / 2)};
}

}  // namespace magicid::rewards
