#include "evaluation/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "base/random.h"
#include "unit/rewards/golden.h"

namespace magicid::evaluation {
namespace {

using Clusters = std::vector<std::vector<PairedValue>>;

// `people` clusters of `videos` pairs; a difference is a person's own (standard deviation `between`) plus a video's (`within`), around `effect`.
Clusters people_with(std::size_t people, std::size_t videos, double effect, double between, double within, std::uint64_t seed) {
  std::vector<float> normal(people * (2 * videos + 1));
  base::CounterRandom(seed, "test").normal(normal, 0);
  std::size_t at = 0;
  Clusters clusters(people);
  for (auto& cluster : clusters) {
    const double own = between * normal[at++];
    for (std::size_t i = 0; i < videos; ++i) {
      const double level = 50 + 20 * normal[at++];  // how hard the prompt is: the same for both arms
      cluster.push_back({level + effect + own + within * normal[at++], level});
    }
  }
  return clusters;
}

TEST(Comparison, PairingRemovesWhatBothArmsShare) {
  Clusters clusters{{{11, 10}, {101, 100}, {-4, -5}}};
  const auto result = compare_paired(clusters);
  EXPECT_EQ(result.pairs, 3u);
  EXPECT_EQ(result.clusters, 1u);
  EXPECT_DOUBLE_EQ(result.mean, 36);
  EXPECT_DOUBLE_EQ(result.baseline_mean, 35);
  EXPECT_NEAR(result.difference.mean, 1, 1e-12);
  EXPECT_NEAR(result.difference.low, 1, 1e-12);
  EXPECT_NEAR(result.difference.high, 1, 1e-12);
}

TEST(Comparison, OneClusterHasTheStandardErrorOfPairedDifferences) {
  const auto clusters = people_with(1, 400, 0.5, 0, 2, 3);
  double mean = 0, square = 0;
  for (const auto& pair : clusters[0]) mean += (pair.value - pair.baseline) / 400;
  for (const auto& pair : clusters[0]) square += std::pow(pair.value - pair.baseline - mean, 2) / 400;
  const auto result = compare_paired(clusters, 0.95, 5000);
  EXPECT_NEAR(result.difference.mean, mean, 1e-9);
  const double half = 1.96 * std::sqrt(square / 400);
  EXPECT_NEAR(result.difference.low, mean - half, 0.1 * half);
  EXPECT_NEAR(result.difference.high, mean + half, 0.1 * half);
}

TEST(Comparison, ConstantClustersGiveTheExactDistributionOfDrawingPeople) {
  // Two people, differences 0 and 1 on every video: a resample's mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4, however many videos there are.
  Clusters two{std::vector<PairedValue>(50, {3, 3}), std::vector<PairedValue>(50, {4, 3})};
  const auto result = compare_paired(two);
  EXPECT_EQ(result.difference.mean, 0.5);
  EXPECT_EQ(result.difference.low, 0);
  EXPECT_EQ(result.difference.high, 1);
  EXPECT_EQ(compare_paired(two, 0.4, 4000).difference.low, 0.5);   // quantile 0.3 of (0, 1/2, 1)
  EXPECT_EQ(compare_paired(two, 0.4, 4000).difference.high, 0.5);  // quantile 0.7
  // As one heap of videos the interval would be five times narrower: the mistake that clustering avoids.
  Clusters heap(1);
  for (const auto& cluster : two) heap[0].insert(heap[0].end(), cluster.begin(), cluster.end());
  const auto naive = compare_paired(heap).difference;
  EXPECT_NEAR(naive.high - naive.low, 2 * 1.96 * 0.05, 0.03);
}

TEST(Comparison, EveryPersonWeighsTheSame) {
  const auto result = compare_paired({std::vector<PairedValue>(9, {1, 0}), {{0, 0}}});
  EXPECT_EQ(result.difference.mean, 0.5);
  EXPECT_EQ(result.pairs, 10u);
}

TEST(Comparison, IntervalsCoverTheTruthAboutAsOftenAsTheySay) {
  constexpr int studies = 300;
  int covered = 0;
  for (int s = 0; s < studies; ++s) {
    const auto interval = compare_paired(people_with(12, 6, 0.3, 0.5, 1, 100 + static_cast<std::uint64_t>(s)), 0.95, 400).difference;
    covered += interval.low <= 0.3 && 0.3 <= interval.high;
  }
  EXPECT_GT(covered, 0.88 * studies);
  EXPECT_LT(covered, studies);
}

TEST(Comparison, RatiosNeedAPositiveBaseline) {
  const auto result = compare_paired({{{3, 2}, {6, 4}}, {{1.5, 1}}});
  EXPECT_DOUBLE_EQ(result.ratio.mean, 1.5);
  EXPECT_DOUBLE_EQ(result.ratio.low, 1.5);
  EXPECT_DOUBLE_EQ(result.ratio.high, 1.5);
  EXPECT_TRUE(std::isnan(compare_paired({{{1, 0}, {1, 0}}}).ratio.mean));
  EXPECT_TRUE(std::isnan(compare_paired({{{1, 3}, {1, -1}}}).ratio.low)) << "a resample's baseline is negative";
}

TEST(Comparison, TheSameSeedGivesTheSameIntervalAndNonsenseIsRefused) {
  const auto clusters = people_with(4, 5, 0, 1, 1, 9);
  EXPECT_EQ(compare_paired(clusters).difference.low, compare_paired(clusters).difference.low);
  EXPECT_NE(compare_paired(clusters).difference.low, compare_paired(clusters, 0.95, 2000, 1).difference.low);
  EXPECT_THROW(compare_paired({}), base::InvariantError);
  EXPECT_THROW(compare_paired({{{1, 1}}, {}}), base::InvariantError);
  EXPECT_THROW(compare_paired({{{std::nan(""), 1}}}), base::InvariantError);
  EXPECT_THROW(compare_paired({{{1, 1}}}, 1), base::InvariantError);
}

TEST(GroupedMean, OneValueAGroupIsTheOrdinaryBootstrap) {
  std::vector<double> values;
  std::vector<std::vector<double>> groups;
  for (int i = 0; i < 30; ++i) {
    values.push_back(std::sin(i));
    groups.push_back({values.back()});
  }
  const auto plain = bootstrap_mean(values, 0.9, 500, 3), grouped = bootstrap_grouped_mean(groups, 0.9, 500, 3);
  EXPECT_NEAR(plain.mean, grouped.mean, 1e-12);
  EXPECT_NEAR(plain.low, grouped.low, 1e-12);
  EXPECT_NEAR(plain.high, grouped.high, 1e-12);
}

TEST(GroupedMean, VideosOfOnePromptAreNotIndependent) {
  // Two prompts of 50 equal videos each: a resample's mean is 0, 1/2 or 1, however many videos there are.
  const auto two = bootstrap_grouped_mean({std::vector<double>(50, 0.0), std::vector<double>(50, 1.0)});
  EXPECT_NEAR(two.mean, 0.5, 1e-12);
  EXPECT_EQ(two.low, 0);
  EXPECT_EQ(two.high, 1);
  // Uneven groups: the mean is over the videos.
  EXPECT_NEAR(bootstrap_grouped_mean({{0, 0, 0}, {1}}).mean, 0.25, 1e-12);
  // One prompt: its videos are drawn.
  const auto one = bootstrap_grouped_mean({{0, 1, 2, 3}});
  EXPECT_LT(one.low, 1.5);
  EXPECT_GT(one.high, 1.5);
  EXPECT_THROW(bootstrap_grouped_mean({{1}, {}}), base::InvariantError);
  EXPECT_THROW(bootstrap_grouped_mean({}), base::InvariantError);
}

TEST(Statistics, BootstrapIntervalHasTheNormalWidth) {
  const std::vector<double> values = [] {
    const at::Tensor t = rewards::fraction("bootstrap", {200});
    return std::vector<double>(t.data_ptr<double>(), t.data_ptr<double>() + t.numel());
  }();
  double mean = 0, variance = 0;
  for (double v : values) mean += v / 200;
  for (double v : values) variance += (v - mean) * (v - mean) / 199;
  const Interval interval = bootstrap_mean(values);
  EXPECT_NEAR(interval.mean, mean, 1e-12);
  const double half = 1.96 * std::sqrt(variance / 200);
  EXPECT_NEAR(interval.mean - interval.low, half, 0.15 * half);
  EXPECT_NEAR(interval.high - interval.mean, half, 0.15 * half);
  EXPECT_EQ(bootstrap_mean(values).low, interval.low);
  EXPECT_NE(bootstrap_mean(values, 0.95, 2000, 1).low, interval.low);
  const Interval one = bootstrap_mean({3});
  EXPECT_EQ(one.low, 3);
  EXPECT_EQ(one.high, 3);
  EXPECT_THROW(bootstrap_mean({}), base::InvariantError);
}

}  // namespace
}  // namespace magicid::evaluation
