// Summaries of scores. Pure functions of numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace magicid::rewards {

struct Interval {
  double mean = 0, low = 0, high = 0;
};

// Mean and percentile bootstrap interval of the mean (Efron 1979), the same for the same seed. One value: an interval without width.
// Throws InvariantError for an empty list, NaN, or confidence outside (0,1).
Interval bootstrap_mean(const std::vector<double>& values, double confidence = 0.95, std::int64_t resamples = 2000, std::uint64_t seed = 0);

}  // namespace magicid::rewards
