#include "evaluation/evaluation.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/csv.h"

namespace magicid::evaluation {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr double motion = 2;

// Two prompts; arm `stage1` with two videos each, folder `other` with the first prompt and one of its own.
EvaluationResult result_with(const std::vector<json>& faces) {
  EvaluationResult result{.person = "p",
                          .noise_seed = 3,
                          .prompts = {"a {subject} walks, \"fast\"", "a {subject}\nwaves", "a dog"},
                          .video = {{"height", 32}, {"width", 48}, {"frames", 5}, {"fps", 8}},
                          .arms = {"stage1", "other"},
                          .folders = {{"other", "videos/other"}},
                          .frechet = "clip_frechet"};
  const auto add = [&](const std::string& arm, std::int64_t prompt, std::int64_t sample, const std::string& file, const json& face) {
    EvaluationItem item{.arm = arm, .prompt = prompt, .sample = sample, .text = "t", .video_key = "0123456789abcdef0123", .file = file};
    json metrics = json::object();
    for (const auto& name : video_metrics()) metrics[name] = motion;
    metrics["face_similarity"] = face;
    result.figures.push_back({.metrics = metrics,
                              .size = {{"height", 32}, {"width", arm == "other" ? 64 : 48}, {"frames", 5}, {"fps", 8.0}},
                              .features = at::tensor({static_cast<double>(result.items.size()), 1.0})});
    result.items.push_back(std::move(item));
  };
  add("stage1", 0, 0, "", faces.at(0));
  add("stage1", 0, 1, "", faces.at(1));
  add("stage1", 1, 0, "", faces.at(2));
  add("stage1", 1, 1, "", faces.at(3));
  add("other", 0, 0, "videos/other/a.mp4", 0.5);
  add("other", 2, 0, "videos/other/b.mp4", 0.7);
  return result;
}

json arm_of(const json& evaluation, const std::string& name) {
  for (const auto& arm : evaluation.at("arms"))
    if (arm.at("arm") == name) return arm;
  ADD_FAILURE() << "no arm " << name;
  return {};
}

TEST(Evaluation, FiguresOverallAndByPrompt) {
  const json e = summarise(result_with({0.0, 0.2, 0.8, 1.0}));
  const json face = arm_of(e, "stage1")["metrics"]["face_similarity"];
  EXPECT_NEAR(face["mean"], 0.5, 1e-12);
  EXPECT_EQ(face["n"], 4);
  EXPECT_NEAR(face["low"], 0.1, 1e-12);  // both draws are the first prompt, with all its videos
  EXPECT_NEAR(face["high"], 0.9, 1e-12);
  EXPECT_EQ(arm_of(e, "stage1")["metrics"]["dynamic_degree"]["low"], motion);
  ASSERT_EQ(e["by_prompt"].size(), 4u);
  EXPECT_NEAR(e["by_prompt"][1]["metrics"]["face_similarity"]["mean"], 0.9, 1e-12);
  EXPECT_NEAR(e["by_prompt"][1]["metrics"]["face_similarity"]["low"], 0.8, 1e-12);
  EXPECT_EQ(e["by_prompt"][2]["metrics"]["face_similarity"]["mean"], 0.5);
  EXPECT_TRUE(e["by_prompt"][2]["metrics"]["face_similarity"]["low"].is_null());  // one video has no interval
  EXPECT_EQ(arm_of(e, "other")["folder"], "videos/other");
  EXPECT_EQ(e["videos"][4]["file"], "a.mp4");
  EXPECT_EQ(e["videos"][0]["preview"], "evaluate-0123456789abcdef.mp4");
  ASSERT_EQ(e["notes"].size(), 1u);
  EXPECT_THAT(e["notes"][0].get<std::string>(), HasSubstr("64x32, 5 frames, 8 per second"));
}

TEST(Evaluation, AFigureThatIsNoNumberIsLeftOutAndCounted) {
  const json e = summarise(result_with({0.25, nullptr, 0.75, nullptr}));
  const json face = arm_of(e, "stage1")["metrics"]["face_similarity"];
  EXPECT_EQ(face["n"], 2);
  EXPECT_NEAR(face["mean"], 0.5, 1e-12);
  EXPECT_TRUE(e["videos"][1]["metrics"]["face_similarity"].is_null());
  const json none = arm_of(summarise(result_with({nullptr, nullptr, nullptr, nullptr})), "stage1")["metrics"]["face_similarity"];
  EXPECT_EQ(none["n"], 0);
  EXPECT_TRUE(none["mean"].is_null());
}

TEST(Evaluation, TheFrechetDistanceComparesEqualCounts) {
  EXPECT_EQ(frechet_count({4, 2}, 9), 2u);
  EXPECT_EQ(frechet_count({4, 7}, 3), 3u);
  auto result = result_with({0, 0, 0, 0});
  const json absent = summarise(result);
  EXPECT_TRUE(arm_of(absent, "stage1")["metrics"]["clip_frechet"]["mean"].is_null());
  EXPECT_THAT(absent["frechet"]["hint"].get<std::string>(), HasSubstr("evaluate.real_videos"));
  result.real_given = true;
  for (const double x : {10.0, 12.0, 500.0}) result.real.push_back(at::tensor({x, 1.0}));
  const json e = summarise(result);
  EXPECT_EQ(e["frechet"]["videos"], 2);
  // Two of each: of stage1 the first samples of both prompts, features 0 and 2; of other 4 and 5; real 10 and 12. |mu1-mu2|^2 + (s1-s2)^2.
  EXPECT_NEAR(arm_of(e, "stage1")["metrics"]["clip_frechet"]["mean"], 100, 1e-9);
  EXPECT_NEAR(arm_of(e, "other")["metrics"]["clip_frechet"]["mean"], 6.5 * 6.5 + std::pow(std::sqrt(2.0) - std::sqrt(0.5), 2), 1e-9);
  EXPECT_EQ(arm_of(e, "other")["metrics"]["clip_frechet"]["n"], 2);
  result.figures[4].features = at::Tensor();
  result.frechet = "fvd";
  const json shorter = summarise(result);
  EXPECT_TRUE(arm_of(shorter, "other")["metrics"]["fvd"]["mean"].is_null());
  EXPECT_FALSE(arm_of(shorter, "stage1")["metrics"]["fvd"]["mean"].is_null());
  EXPECT_THAT(shorter["frechet"]["hint"].get<std::string>(), HasSubstr("'other'"));
}

TEST(Evaluation, TablesHoldTheSameNumbers) {
  const json e = summarise(result_with({0.125, nullptr, 0.75, 1.0}));
  const auto rows = storage::read_csv(evaluation_csv(e), "evaluation.csv");
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[0].cells[0], "arm");
  EXPECT_EQ(rows[1].cells, (std::vector<std::string>{"stage1", "a {subject} walks, \"fast\"", "0", "previews/evaluate-0123456789abcdef.mp4", "32", "48", "5",
                                                     "8.0", "0.125", "2.0", "2.0", "2.0", "2.0", "2.0", "2.0", "2.0"}));
  EXPECT_EQ(rows[2].cells[8], "");
  EXPECT_EQ(rows[3].cells[1], "a {subject}\nwaves");
  EXPECT_EQ(rows[5].cells[3], "a.mp4");
  const auto summary = storage::read_csv(evaluation_summary_csv(e), "evaluation-summary.csv");
  // A Frechet distance a arm beside the figures of videos; and those of four rows of arm and prompt.
  EXPECT_EQ(summary.size(), 1 + 2 * (video_metrics().size() + 1) + 4 * video_metrics().size());
  for (const auto& row : summary) ASSERT_EQ(row.cells.size(), 7u);
  EXPECT_EQ(summary[0].cells, (std::vector<std::string>{"arm", "prompt", "metric", "mean", "low", "high", "n"}));
  EXPECT_EQ(summary[1].cells[1], "all");
  EXPECT_EQ(summary.back().cells[1], "a dog");
}

TEST(Evaluation, PromptsOfFoldersFindTheirTemplates) {
  const models::text::SubjectWords subject{.trigger = "sks", .class_name = "woman"};
  PromptList prompts{.prompts = {"a {subject} walks", "a {subject} waves"}, .templates = 2};
  EXPECT_EQ(prompts.index_of("a {subject} waves", subject), 1);
  EXPECT_EQ(prompts.index_of("a woman walks", subject), 0);
  EXPECT_EQ(prompts.index_of("a sks woman walks", subject), 0);
  EXPECT_EQ(prompts.index_of("a man walks", subject), 2);
  EXPECT_EQ(prompts.index_of("a dog", subject), 3);
  EXPECT_EQ(prompts.index_of("a man walks", subject), 2);
}

}  // namespace
}  // namespace magicid::evaluation
