#include "preference/pairs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "base/quantile.h"
#include "base/random.h"

namespace magicid::preference {
namespace {

// 3 stills, and for each of 10 prompts 2 videos of the initial and 6 of the tuned model, scores from the counter-based generator.
std::vector<Candidate> pool(int seed) {
  const base::CounterRandom random(seed, "pool");
  std::vector<Candidate> candidates;
  const auto add = [&](Source source, int prompt, double identity, double dynamics) {
    const auto i = candidates.size();
    candidates.push_back({.key = "key" + std::to_string(1000 + i),
                          .source = source,
                          .prompt = prompt,
                          .identity = 1 + 9 * identity * random.uniform(i, 0),
                          .dynamics = 1 + 9 * dynamics * random.uniform(i, 1),
                          .semantics = 1 + 9 * random.uniform(i, 2)});
  };
  for (int i = 0; i < 3; ++i) add(Source::still, -1, 1, 0);
  for (auto& still : candidates) still.identity = 10;
  for (int p = 0; p < 10; ++p) {
    for (int i = 0; i < 2; ++i) add(Source::initial, p, 0.3, 1);
    for (int i = 0; i < 6; ++i) add(Source::tuned, p, 1, 0.6);
  }
  return candidates;
}

std::map<std::string, Candidate> by_key(const std::vector<Candidate>& candidates) {
  std::map<std::string, Candidate> map;
  for (const auto& c : candidates) map[c.key] = c;
  return map;
}

TEST(Pairs, DoNotDependOnTheOrderOfTheInput) {
  auto candidates = pool(1);
  const auto first = select_pairs(candidates, {});
  std::reverse(candidates.begin(), candidates.end());
  EXPECT_EQ(select_pairs(candidates, {}).pairs, first.pairs);
  EXPECT_FALSE(first.pairs.empty());
}

TEST(Pairs, StillLosersChangeWhatIsTrainedAndNotWhatIsChosen) {
  const auto candidates = pool(3);
  Options options;
  options.identity_pairs.loser = "video";
  const auto moving = select_pairs(candidates, options);
  options.identity_pairs.loser = "still";
  auto still = select_pairs(candidates, options);
  ASSERT_EQ(still.pairs.size(), moving.pairs.size());
  int identity = 0;
  for (std::size_t i = 0; i < still.pairs.size(); ++i) {
    EXPECT_EQ(still.pairs[i].loser_still, still.pairs[i].kind == PairKind::identity);
    EXPECT_FALSE(moving.pairs[i].loser_still);
    identity += still.pairs[i].loser_still;
    still.pairs[i].loser_still = false;
  }
  EXPECT_GT(identity, 0);
  EXPECT_EQ(still.pairs, moving.pairs);
}

TEST(Pairs, DynamicPairsKeepTheirRule) {
  const auto candidates = pool(2);
  auto lookup = by_key(candidates);
  Options options;
  options.dynamic_pairs = {.min_dynamics_gap = 0.5, .max_identity_loss = 0.25, .max_semantic_loss = 1, .max_pairs_per_video = 3};
  std::map<std::string, int> uses;
  int count = 0;
  const auto selection = select_pairs(candidates, options);
  for (const auto& pair : selection.pairs) {
    if (pair.kind != PairKind::dynamic) continue;
    ++count;
    const auto &w = lookup[pair.winner], &l = lookup[pair.loser];
    EXPECT_EQ(w.prompt, l.prompt);
    EXPECT_EQ(pair.prompt, w.prompt);
    EXPECT_LT(pair.winner_front, pair.loser_front);
    EXPECT_GE(w.dynamics - l.dynamics, 0.5);
    EXPECT_GE(w.identity - l.identity, -0.25);
    EXPECT_GE(w.semantics - l.semantics, -1);
    EXPECT_LE(++uses[pair.winner], 3);
    EXPECT_LE(++uses[pair.loser], 3);
  }
  EXPECT_GT(count, 5);
  ASSERT_FALSE(selection.notes.empty());  // fewer than 100 are possible here
  EXPECT_NE(selection.notes.back().find("of 100 asked for"), std::string::npos);
}

TEST(Pairs, FrontierRuleTakesExtremesSortedByIdentityGap) {
  const auto candidates = pool(3);
  Options options;
  options.pairs = "dynamic";
  options.dynamic_pairs.rule = "frontier";
  options.dynamic_pairs.max_pairs_per_video = 1000;
  const auto selection = select_pairs(candidates, options);
  int last = 0;
  for (const auto& [key, front] : selection.fronts) last = std::max(last, front);
  ASSERT_FALSE(selection.pairs.empty());
  for (std::size_t i = 0; i < selection.pairs.size(); ++i) {
    EXPECT_EQ(selection.pairs[i].winner_front, 0);
    EXPECT_EQ(selection.pairs[i].loser_front, last);
    if (i > 0) {
      EXPECT_LE(selection.pairs[i].identity_gap, selection.pairs[i - 1].identity_gap);
    }
  }
}

TEST(Pairs, IdentityPairsAreStillsOverTheInitialModel) {
  const auto candidates = pool(4);
  auto lookup = by_key(candidates);
  Options options;
  options.pairs = "identity";
  options.identity_pairs.dynamics_quantile = 0.5;
  options.identity_pairs.count = 12;
  const auto selection = select_pairs(candidates, options);
  std::vector<double> dynamics;
  for (const auto& c : candidates)
    if (c.source == Source::initial) dynamics.push_back(c.dynamics);
  ASSERT_EQ(selection.pairs.size(), 12u);
  for (const auto& pair : selection.pairs) {
    EXPECT_EQ(lookup[pair.winner].source, Source::still);
    EXPECT_EQ(lookup[pair.loser].source, Source::initial);
    EXPECT_EQ(pair.prompt, lookup[pair.loser].prompt);
    EXPECT_LE(lookup[pair.loser].dynamics, base::quantile(dynamics, 0.5));
    EXPECT_GT(pair.identity_gap, 0);
  }
  options.identity_pairs.condition = "portrait";
  for (const auto& pair : select_pairs(candidates, options).pairs) EXPECT_EQ(pair.prompt, -1);
}

TEST(Pairs, DegeneratePoolsGiveNoPairsAndSaySo) {
  std::vector<Candidate> equal;
  for (int i = 0; i < 6; ++i)
    equal.push_back({.key = std::to_string(i), .source = i % 2 ? Source::initial : Source::tuned, .prompt = 0, .identity = 5, .dynamics = 5, .semantics = 5});
  const auto selection = select_pairs(equal, {});
  EXPECT_TRUE(selection.pairs.empty());
  EXPECT_EQ(selection.notes.size(), 2u);
  EXPECT_TRUE(select_pairs({}, {}).pairs.empty());
  EXPECT_TRUE(select_pairs({equal[0]}, {}).pairs.empty());
  equal[1].key = equal[0].key;
  EXPECT_THROW(select_pairs(equal, {}), base::UserError);
}

TEST(Pairs, LeftOutRewardsDoNotDecide) {
  // Better in identity, worse in everything else: a pair only when identity alone counts.
  std::vector<Candidate> two = {{.key = "a", .source = Source::tuned, .prompt = 0, .identity = 9, .dynamics = 2, .semantics = 2},
                                {.key = "b", .source = Source::initial, .prompt = 0, .identity = 3, .dynamics = 8, .semantics = 8}};
  Options options;
  options.pairs = "dynamic";
  EXPECT_TRUE(select_pairs(two, options).pairs.empty());
  options.rewards = "identity";
  ASSERT_EQ(select_pairs(two, options).pairs.size(), 1u);
  EXPECT_EQ(select_pairs(two, options).pairs[0].winner, "a");
}

}  // namespace
}  // namespace magicid::preference
