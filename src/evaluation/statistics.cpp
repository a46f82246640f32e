#include "evaluation/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/quantile.h"
#include "base/random.h"

namespace magicid::evaluation {
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

Interval bootstrap_grouped_mean(const std::vector<std::vector<double>>& groups, double confidence, std::int64_t resamples, std::uint64_t seed) {
  std::vector<double> sums, all;
  for (const auto& group : groups) {
    check_values(group);
    double sum = 0;
    for (double value : group) sum += value;
    sums.push_back(sum);
    all.insert(all.end(), group.begin(), group.end());
  }
  if (groups.size() < 2) return bootstrap_mean(all, confidence, resamples, seed);
  base::check_invariant(confidence > 0 && confidence < 1 && resamples >= 1, "bootstrap_grouped_mean needs a confidence inside (0,1) and a resample");
  const base::CounterRandom random(seed, "bootstrap");
  std::vector<double> means(static_cast<std::size_t>(resamples));
  for (std::size_t r = 0; r < means.size(); ++r) {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const auto drawn = static_cast<std::size_t>(random.below(groups.size(), r, i));
      sum += sums[drawn];
      count += static_cast<double>(groups[drawn].size());
    }
    means[r] = sum / count;
  }
  double total = 0;
  for (double value : all) total += value / static_cast<double>(all.size());
  return {total, base::quantile(means, (1 - confidence) / 2), base::quantile(means, (1 + confidence) / 2)};
}

namespace {

struct Means {
  double value = 0, baseline = 0;
};

}  // namespace

PairedComparison compare_paired(const std::vector<std::vector<PairedValue>>& clusters, double confidence, std::int64_t resamples, std::uint64_t seed) {
  base::check_invariant(!clusters.empty(), "a comparison of no values");
  base::check_invariant(confidence > 0 && confidence < 1 && resamples >= 1, "compare_paired needs a confidence inside (0,1) and a resample");
  PairedComparison result;
  result.clusters = clusters.size();
  // `cluster_at` and `pair_at` choose which cluster and pair stand at a place: themselves, or a draw.
  const auto means = [&](const auto& cluster_at, const auto& pair_at) {
    Means sum;
    for (std::size_t k = 0; k < clusters.size(); ++k) {
      const auto& cluster = clusters[cluster_at(k)];
      Means own;
      for (std::size_t i = 0; i < cluster.size(); ++i) {
        const PairedValue& pair = cluster[pair_at(k, i, cluster.size())];
        own.value += pair.value;
        own.baseline += pair.baseline;
      }
      sum.value += own.value / static_cast<double>(cluster.size());
      sum.baseline += own.baseline / static_cast<double>(cluster.size());
    }
    const auto count = static_cast<double>(clusters.size());
    return Means{sum.value / count, sum.baseline / count};
  };
  std::size_t largest = 0;
  for (const auto& cluster : clusters) {
    base::check_invariant(!cluster.empty(), "a comparison with a cluster of no values");
    for (const auto& pair : cluster) base::check_invariant(!std::isnan(pair.value) && !std::isnan(pair.baseline), "a comparison of values with NaN");
    result.pairs += cluster.size();
    largest = std::max(largest, cluster.size());
  }
  const Means observed = means([](std::size_t k) { return k; }, [](std::size_t, std::size_t i, std::size_t) { return i; });
  result.mean = observed.value;
  result.baseline_mean = observed.baseline;

  const base::CounterRandom of_clusters(seed, "bootstrap-clusters"), of_pairs(seed, "bootstrap-pairs");
  std::vector<double> differences, ratios;
  for (std::uint64_t r = 0; r < static_cast<std::uint64_t>(resamples); ++r) {
    const Means drawn =
        means([&](std::size_t k) { return clusters.size() == 1 ? k : static_cast<std::size_t>(of_clusters.below(clusters.size(), r, k)); },
              [&](std::size_t k, std::size_t i, std::size_t size) { return static_cast<std::size_t>(of_pairs.below(size, r, k * largest + i)); });
    differences.push_back(drawn.value - drawn.baseline);
    if (drawn.baseline > 0) ratios.push_back(drawn.value / drawn.baseline);
  }
  const double low = (1 - confidence) / 2, high = (1 + confidence) / 2;
  result.difference = {observed.value - observed.baseline, base::quantile(differences, low), base::quantile(differences, high)};
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  result.ratio = {unknown, unknown, unknown};
  if (observed.baseline > 0 && ratios.size() == differences.size())
    result.ratio = {observed.value / observed.baseline, base::quantile(ratios, low), base::quantile(ratios, high)};
  return result;
}

}  // namespace magicid::evaluation
