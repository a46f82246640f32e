#include "report/plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/errors.h"

namespace magicid::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Ticks, AreRoundAndInside) {
  EXPECT_THAT(nice_ticks(0, 1, 5).labels, ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1.0"));
  EXPECT_THAT(nice_ticks(0, 5000, 5).labels, ElementsAre("0", "1k", "2k", "3k", "4k", "5k"));
  EXPECT_THAT(nice_ticks(-1.1, 1.1, 4).labels, ElementsAre("\xE2\x88\x92"
                                                           "1.0",
                                                           "\xE2\x88\x92"
                                                           "0.5",
                                                           "0", "0.5", "1.0"));
  EXPECT_THAT(nice_ticks(0, 2e-5, 2).labels, ElementsAre("0",
                                                         "1e\xE2\x88\x92"
                                                         "5",
                                                         "2e\xE2\x88\x92"
                                                         "5"));
}

TEST(Ticks, LabelsAreDistinctForEveryScale) {
  for (int power = -9; power <= 6; ++power) {
    for (const double factor : {1.0, 1.7, 3.3, 6.4, 9.9}) {
      const double span = factor * std::pow(10.0, power);
      const Ticks ticks = nice_ticks(0.3 * span, 1.3 * span, 5);
      EXPECT_GE(ticks.values.size(), 3U) << span;
      EXPECT_LE(ticks.values.size(), 9U) << span;
      const std::set<std::string> labels(ticks.labels.begin(), ticks.labels.end());
      EXPECT_EQ(labels.size(), ticks.values.size()) << span;
      for (const double value : ticks.values) EXPECT_TRUE(value >= ticks.low - span * 1e-6 && value <= ticks.high + span * 1e-6);
    }
  }
}

TEST(Ticks, EqualEndsAreWidened) {
  EXPECT_LT(nice_ticks(3, 3, 5).low, 3);
  EXPECT_GT(nice_ticks(0, 0, 5).high, 0);
  EXPECT_THROW(nice_ticks(std::nan(""), 1, 5), base::InvariantError);
}

TEST(Smoothing, KeepsAConstantAndItsGapsAndFollowsASteadyRise) {
  const double gap = std::nan("");
  const auto constant = smoothed({2, 2, gap, 2}, 10);
  EXPECT_NEAR(constant[0], 2, 1e-12);
  EXPECT_NEAR(constant[3], 2, 1e-12);
  EXPECT_TRUE(std::isnan(constant[2]));
  std::vector<double> rise(500);
  for (std::size_t i = 0; i < rise.size(); ++i) rise[i] = static_cast<double>(i);
  EXPECT_NEAR(smoothed(rise, 21).back(), 499 - 10, 0.1);  // lags by half the window
  EXPECT_EQ(smoothed(rise, 1), rise);
}

CurveChart chart_of(std::vector<double> values) {
  CurveChart chart{.title = "Loss"};
  for (std::size_t i = 0; i < values.size(); ++i) chart.steps.push_back(static_cast<double>(i));
  chart.curves.push_back({.label = "loss", .values = std::move(values)});
  return chart;
}

TEST(Curves, ThousandsOfStepsStaySmallAndSpikesSurvive) {
  std::vector<double> values(20'000, 1.0);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += 0.01 * static_cast<double>(i % 7);
  values[777] = 50;
  const std::string drawing = draw(chart_of(values)).str();
  EXPECT_LT(drawing.size(), 30'000U);
  EXPECT_THAT(drawing, HasSubstr("1 single value lies beyond the axis."));
  EXPECT_THAT(drawing, HasSubstr(",-250 "));  // clamped far above the drawing
}

TEST(Curves, AreNotSmoothedWhenThereAreFewSteps) {
  EXPECT_THAT(draw(chart_of({3, 2, 1})).str(), Not(HasSubstr("class=\"raw")));
  EXPECT_THAT(draw(chart_of(std::vector<double>(100, 1.0))).str(), HasSubstr("class=\"raw plain\""));
}

TEST(Curves, AnythingMeasuredCanBeDrawn) {
  const double gap = std::nan("");
  EXPECT_NO_THROW(draw(chart_of({1})));
  EXPECT_NO_THROW(draw(chart_of({0, 0, 0})));
  EXPECT_NO_THROW(draw(chart_of({gap, 5, INFINITY, -1e300, 1e300})));
  EXPECT_NO_THROW(draw(chart_of({gap, gap})));
  EXPECT_THROW(draw(chart_of({})), base::InvariantError);
}

TEST(Intervals, LackOfAMeanOrAnIntervalIsNoError) {
  const double gap = std::nan("");
  const std::string drawing = draw_intervals("d", {{"a", 1, gap, gap}, {"b", gap, gap, gap}, {"c", 2, 1.5, 2.5}}).str();
  EXPECT_THAT(drawing, HasSubstr("class=\"arm a0\""));
  EXPECT_EQ(drawing.find("whisker"), drawing.rfind("whisker"));
  EXPECT_TRUE(draw_intervals("d", {{"b", gap, gap, gap}}).empty());
}

}  // namespace
}  // namespace magicid::report
