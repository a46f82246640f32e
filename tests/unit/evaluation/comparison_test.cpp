#include "evaluation/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "support/temporary_folder.h"

namespace magicid::evaluation {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

// An evaluation of two prompts with the given face similarities, arm by arm.
EvaluatedRun run(const std::string& name, const std::string& person, int seed, const std::map<std::string, std::vector<json>>& arms) {
  json e{{"person", person},         {"noise_seed", seed},    {"prompts", {"a {subject} walks", "a {subject} waves"}},
         {"video", {{"frames", 5}}}, {"arms", json::array()}, {"videos", json::array()}};
  for (const auto& [arm, values] : arms) {
    e["arms"].push_back({{"arm", arm}});
    for (std::size_t p = 0; p < values.size(); ++p)
      e["videos"].push_back({{"arm", arm}, {"prompt", p}, {"sample", 0}, {"metrics", {{"face", values[p]}, {"motion", 2.0}}}});
  }
  return {name, e};
}

json row(const json& comparison, const std::string& arm, const std::string& metric) {
  for (const auto& r : comparison.at("comparisons"))
    if (r.at("arm") == arm && r.at("metric") == metric) return r;
  ADD_FAILURE() << "no row " << arm << " " << metric;
  return {};
}

std::string refusal(const std::vector<EvaluatedRun>& runs, const std::vector<EvaluatedRun>& others, const ComparisonOptions& options = {}) {
  try {
    compare_runs(runs, others, options);
  } catch (const base::UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return {};
}

TEST(Comparison, ArmsOfOneRunPairByPromptAndSample) {
  const auto result = compare_runs({run("a", "p", 1, {{"stage1", {0.5, 0.1}}, {"hpo", {0.7, 0.3}}, {"base", {0.0, 0.0}}})}, {}, {});
  const auto hpo = row(result, "hpo", "face");
  EXPECT_EQ(hpo["pairs"], 2);
  EXPECT_EQ(hpo["people"], 1);
  EXPECT_NEAR(hpo["difference"]["mean"], 0.2, 1e-12);
  EXPECT_NEAR(hpo["difference"]["low"], 0.2, 1e-12);  // paired: both videos gain the same
  EXPECT_NEAR(hpo["ratio"]["mean"], 0.5 / 0.3, 1e-12);
  EXPECT_NEAR(row(result, "base", "face")["difference"]["mean"], -0.3, 1e-12);
  EXPECT_EQ(row(result, "hpo", "motion")["difference"]["mean"], 0.0);
  EXPECT_EQ(result["comparisons"].size(), 4u);
  const std::string table = comparison_markdown(result);
  EXPECT_THAT(table, HasSubstr("| hpo | face | 0.5 | 0.3 | **+0.2** | +0.2 to +0.2 |"));
  EXPECT_THAT(table, HasSubstr("| hpo | motion | 2 | 2 | +0 |"));
  EXPECT_THAT(table, HasSubstr("1 run of 1 person"));
}

TEST(Comparison, SeedsOfOnePersonAreOneCluster) {
  // Person p gains 0 in both seeds, person q gains 1: two clusters, so the interval reaches from 0 to 1.
  const std::vector<EvaluatedRun> runs{run("p1", "p", 1, {{"stage1", {0, 0}}, {"hpo", {0, 0}}}), run("p2", "p", 2, {{"stage1", {0, 0}}, {"hpo", {0, 0}}}),
                                       run("q1", "q", 1, {{"stage1", {0, 0}}, {"hpo", {1, 1}}})};
  const auto result = compare_runs(runs, {}, {});
  const auto face = row(result, "hpo", "face");
  EXPECT_EQ(face["people"], 2);
  EXPECT_EQ(face["pairs"], 6);
  EXPECT_EQ(face["difference"]["mean"], 0.5);
  EXPECT_EQ(face["difference"]["low"], 0.0);
  EXPECT_EQ(face["difference"]["high"], 1.0);
  EXPECT_EQ(face["by_person"][0]["pairs"], 4);
  EXPECT_TRUE(face["ratio"].is_null());
  EXPECT_THAT(comparison_markdown(result), AllOf(HasSubstr("3 runs of 2 people"), HasSubstr("people drawn first, then videos")));
}

TEST(Comparison, ASettingIsComparedBetweenRunsOfTheSamePersonAndSeed) {
  const std::vector<EvaluatedRun> changed{run("x", "p", 1, {{"hpo", {0.9, 0.5}}}), run("y", "q", 1, {{"hpo", {0.4, 0.4}}})};
  const std::vector<EvaluatedRun> standard{run("b", "q", 1, {{"hpo", {0.3, 0.3}}}), run("a", "p", 1, {{"hpo", {0.8, 0.4}}}),
                                           run("c", "r", 1, {{"hpo", {0, 0}}})};
  const auto face = row(compare_runs(changed, standard, {.baseline = "hpo"}), "hpo", "face");
  EXPECT_NEAR(face["difference"]["mean"], 0.1, 1e-12);
  EXPECT_NEAR(face["difference"]["low"], 0.1, 1e-12);
  EXPECT_THAT(refusal(changed, {standard[0]}, {.baseline = "hpo"}), AllOf(HasSubstr("x: none of the --baseline-runs"), HasSubstr("same person")));
}

TEST(Comparison, FiguresThatAreNoNumbersAreSkippedAndCounted) {
  const auto result = compare_runs({run("a", "p", 1, {{"stage1", {0.5, nullptr}}, {"hpo", {0.7, 0.3}}})}, {}, {.metrics = {"face"}});
  EXPECT_EQ(row(result, "hpo", "face")["pairs"], 1);
  EXPECT_EQ(row(result, "hpo", "face")["skipped"], 1);
  const auto none = compare_runs({run("a", "p", 1, {{"stage1", {nullptr}}, {"hpo", {0.7}}})}, {}, {.metrics = {"face"}});
  EXPECT_EQ(row(none, "hpo", "face")["pairs"], 0);
  EXPECT_TRUE(row(none, "hpo", "face")["difference"].is_null());
  EXPECT_THAT(comparison_markdown(none), HasSubstr("| hpo | face | – | – | – | – | – | 0 |"));
}

TEST(Comparison, WhatCannotBeComparedIsRefused) {
  const auto a = run("a", "p", 1, {{"stage1", {0.5, 0.1}}, {"hpo", {0.7, 0.3}}});
  EXPECT_THAT(refusal({a}, {}, {.arms = {"hpp"}}), AllOf(HasSubstr("a: its evaluation has no arm 'hpp'"), HasSubstr("hpo")));
  EXPECT_THAT(refusal({a}, {}, {.baseline = "stage2"}), HasSubstr("did you mean 'stage1'"));
  EXPECT_THAT(refusal({a}, {}, {.metrics = {"fase"}}), HasSubstr("did you mean 'face'"));
  EXPECT_THAT(refusal({a, run("again", "p", 1, {{"stage1", {0.5, 0.1}}, {"hpo", {0.7, 0.3}}})}, {}), HasSubstr("same person with the same seed"));
  EXPECT_THAT(refusal({}, {}), HasSubstr("no run"));
  auto larger = run("b", "p", 1, {{"stage1", {0.5, 0.1}}});
  larger.evaluation["video"]["frames"] = 9;
  EXPECT_THAT(refusal({a}, {larger}, {.arms = {"hpo"}}), HasSubstr("different size"));
  auto other_prompts = run("b", "p", 1, {{"stage1", {0.5, 0.1}}});
  other_prompts.evaluation["prompts"] = {"x {subject}", "y {subject}"};
  EXPECT_THAT(refusal({a}, {other_prompts}, {.arms = {"hpo"}}), HasSubstr("shares prompt"));
}

TEST(Comparison, RunsAreReadFromFoldersAndFiles) {
  tests::TemporaryFolder folder;
  EXPECT_THROW(read_evaluated_run(folder.path()), base::UserError);
  const auto a = run("a", "p", 1, {{"stage1", {0.5, 0.1}}});
  tests::write_bytes(folder / "evaluation.json", a.evaluation.dump());
  EXPECT_EQ(read_evaluated_run(folder.path()).evaluation, a.evaluation);
  EXPECT_EQ(read_evaluated_run(folder / "evaluation.json").evaluation, a.evaluation);
  json old = a.evaluation;
  old.erase("person");
  tests::write_bytes(folder / "evaluation.json", old.dump());
  EXPECT_THROW(read_evaluated_run(folder.path()), base::UserError);
  tests::write_bytes(folder / "evaluation.json", "{");
  EXPECT_THROW(read_evaluated_run(folder.path()), base::UserError);
}

}  // namespace
}  // namespace magicid::evaluation
