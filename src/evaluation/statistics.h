// Summaries of scores. Pure functions of numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace magicid::evaluation {

struct Interval {
  double mean = 0, low = 0, high = 0;
};

// Mean and percentile bootstrap interval of the mean (Efron 1979), the same for the same seed. One value: an interval without width.
// Throws InvariantError for an empty list, NaN, or confidence outside (0,1).
Interval bootstrap_mean(const std::vector<double>& values, double confidence = 0.95, std::int64_t resamples = 2000, std::uint64_t seed = 0);

// The same for values in groups that are not independent, such as videos of one prompt: the mean is over all values, and whole groups are drawn (cluster
// bootstrap, Davison & Hinkley 1997, section 3.8; with one value a group it is bootstrap_mean()). With one group its values are drawn. Throws as
// bootstrap_mean(), and for an empty group.
Interval bootstrap_grouped_mean(const std::vector<std::vector<double>>& groups, double confidence = 0.95, std::int64_t resamples = 2000,
                                std::uint64_t seed = 0);

// One figure of the same prompt and noise under two arms.
struct PairedValue {
  double value = 0, baseline = 0;
};

struct PairedComparison {
  std::size_t clusters = 0, pairs = 0;
  double mean = 0, baseline_mean = 0;  // of the two arms
  Interval difference;                 // mean - baseline_mean
  Interval ratio;                      // mean / baseline_mean; NaN where the baseline's mean is not positive in every resample
};

// Paired comparison with a percentile bootstrap (Efron 1979). Each cluster, one person, holds that person's pairs; every person weighs the same: means are
// means of the clusters' means. With one cluster its pairs are resampled; with several, clusters are resampled and then the pairs in each of them (two-stage
// cluster bootstrap, Davison & Hinkley 1997, section 3.8), because videos of one person are not independent. The same for the same seed, whatever the order of
// arms' other figures. Throws InvariantError for no clusters, an empty one, NaN, or confidence outside (0,1).
PairedComparison compare_paired(const std::vector<std::vector<PairedValue>>& clusters, double confidence = 0.95, std::int64_t resamples = 2000,
                                std::uint64_t seed = 0);

}  // namespace magicid::evaluation
