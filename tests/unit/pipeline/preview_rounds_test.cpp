#include "pipeline/preview_rounds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
const RewardRanges ranges{.identity = {0.0, 1.0}, .dynamics = {0.0, 90.0}, .semantics = {0.2, 0.3}};

PreviewRound of(std::int64_t step, double identity, double dynamics, double semantics) {
  return {.step = step, .videos = {{"a", "a.mp4", {identity, dynamics, semantics}}}};
}

TEST(Previews, ALineOfTheLogIsReadAsItWasWritten) {
  const PreviewRound round{
      .step = 300, .seconds = 12.5, .videos = {{"a walks", "previews/1.mp4", {0.25, 3, 0.5}}, {"a waves", "previews/2.mp4", {0.75, nan, 0.25}}}};
  json line = preview_details(round);
  for (const auto& [name, value] : preview_scalars(round)) line[name] = value;
  line["step"] = round.step;
  const auto read = preview_of_line(json::parse(line.dump()));  // NaN becomes null on the way
  ASSERT_TRUE(read);
  EXPECT_EQ(read->step, 300);
  EXPECT_EQ(read->seconds, 12.5);
  ASSERT_EQ(read->videos.size(), 2u);
  EXPECT_EQ(read->videos[1].prompt, "a waves");
  EXPECT_EQ(read->videos[1].file, "previews/2.mp4");
  EXPECT_EQ(read->videos[0].rewards.dynamics, 3);
  EXPECT_TRUE(std::isnan(read->videos[1].rewards.dynamics));
  EXPECT_EQ(line.at("preview_identity"), 0.5);
  EXPECT_EQ(line.at("preview_semantics"), 0.375);
  EXPECT_TRUE(std::isnan(line.at("preview_dynamics").get<double>()));
  EXPECT_FALSE(preview_of_line({{"step", 3}, {"loss", 0.5}}));
}

TEST(KeepBest, TakesTheHighestMeanOfItsReward) {
  const std::vector<PreviewRound> rounds{of(0, 0.3, 50, 0.21), of(100, 0.6, 10, 0.2), of(200, 0.5, 40, 0.28)};
  EXPECT_EQ(best_preview(rounds, "identity", ranges), 1u);
  EXPECT_EQ(best_preview(rounds, "dynamics", ranges), 0u);
  EXPECT_EQ(best_preview(rounds, "semantics", ranges), 2u);
  EXPECT_EQ(best_preview({}, "identity", ranges), std::nullopt);
}

TEST(KeepBest, TheSumIsOnTheCandidatesScale) {
  // 1 + 9 (0.5 - 0) + 1 + 9 (45 / 90) + 1 + 9 (0.05 / 0.1)
  EXPECT_NEAR(preview_score("sum", {0.5, 45, 0.25}, ranges), 16.5, 1e-9);
  EXPECT_NEAR(preview_score("sum", {2, 45, 0.25}, ranges), 30, 1e-9) << "previews may lie outside of the candidates' range";
  // In plain numbers the dynamics, in pixels, would decide alone.
  const std::vector<PreviewRound> rounds{of(0, 0.1, 40, 0.22), of(100, 0.9, 39, 0.22)};
  EXPECT_EQ(best_preview(rounds, "sum", ranges), 1u);
  // A reward that is equal for all candidates decides nothing.
  RewardRanges flat = ranges;
  flat.identity = {0.4, 0.4};
  EXPECT_EQ(best_preview(rounds, "sum", flat), 0u);
}

TEST(KeepBest, OfEqualStepsTheEarlierAndNeverOneThatIsNotFinite) {
  EXPECT_EQ(best_preview({of(100, 0.5, 1, 0.2), of(0, 0.5, 1, 0.2), of(200, 0.5, 1, 0.2)}, "identity", ranges), 1u);
  EXPECT_EQ(best_preview({of(0, nan, 1, 0.2), of(100, 0.1, 1, 0.2), of(200, INFINITY, 1, 0.2)}, "identity", ranges), 1u);
  EXPECT_EQ(best_preview({of(0, 0.5, nan, 0.2)}, "sum", ranges), std::nullopt);
  EXPECT_EQ(best_preview({of(0, 0.5, nan, 0.2)}, "identity", ranges), 0u);
}

TEST(KeepBest, SaysWhy) {
  EXPECT_EQ(why_best({of(0, 0.25, 1, 0.2), of(100, 0.5, 1, 0.2)}, 1, "identity", ranges),
            "the mean identity of its previews, 0.5, is the highest of 2 (step 0: 0.25, step 100: 0.5)");
  EXPECT_THROW(preview_score("none", {}, ranges), base::InvariantError);
}

}  // namespace
}  // namespace magicid::pipeline
