#include "pipeline/candidates.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/errors.h"
#include "config/reader.h"
#include "pipeline/pairs_file.h"
#include "support/temporary_folder.h"

namespace magicid::pipeline {
namespace {

const std::vector<std::string> templates{"a {subject} walks", "a {subject} waves", "a {subject} sings"};
const ModelIdentity model{.model = "model", .prompt_template = {}, .dtype = "float32"};

Configuration small() {
  Configuration c;
  c.video = {.height = 32, .width = 48, .frames = 5, .fps = 8};
  return c;
}

std::vector<PlannedCandidate> plan(const Configuration& c) { return plan_candidates(c, {}, templates, model, "adapter"); }

TEST(Candidates, TunedVideosCycleThroughTheAdaptersStrengths) {
  Configuration c = small();
  c.generate.tuned_per_prompt = 5;
  c.generate.adapter_strengths = {0.5, 0.75, 1, 1, 1.3};
  std::map<std::int64_t, std::vector<double>> strengths;
  std::set<std::string> keys;
  for (const auto& candidate : plan(c)) {
    keys.insert(candidate.key);
    if (candidate.source != preference::Source::tuned) continue;
    strengths[candidate.prompt].push_back(candidate.strength);
    EXPECT_EQ(candidate.description.at("adapter").at("strength"), candidate.strength);  // recorded, and part of the key
    EXPECT_EQ(candidate.text.find("sks person") != std::string::npos, true);
  }
  EXPECT_EQ(strengths.size(), 3u);
  for (const auto& [prompt, list] : strengths) EXPECT_EQ(list, c.generate.adapter_strengths);
  EXPECT_EQ(keys.size(), 3u * (1 + 5)) << "videos of one strength still differ in their noise";
  c.generate.tuned_per_prompt = 7;  // goes round
  strengths.clear();
  for (const auto& candidate : plan(c))
    if (candidate.source == preference::Source::tuned) strengths[candidate.prompt].push_back(candidate.strength);
  EXPECT_EQ(strengths[0], (std::vector<double>{0.5, 0.75, 1, 1, 1.3, 0.5, 0.75}));
}

std::vector<std::string> still_keys(const Configuration& c, const std::vector<std::string>& stills, const ModelIdentity& of = model) {
  std::vector<std::string> keys;
  for (const auto& candidate : plan_candidates(c, stills, templates, of, "adapter"))
    if (candidate.source == preference::Source::still) keys.push_back(candidate.key);
  return keys;
}

// A still is what it shows: which photo, detector or face it was cropped by is of no account, and another picture is another candidate.
TEST(Candidates, StillsAreKeyedByWhatTheyShow) {
  Configuration c = small();
  const auto keys = still_keys(c, {"one", "two"});
  EXPECT_EQ(still_keys(c, {"zero", "two", "one"}), (std::vector<std::string>{still_keys(c, {"zero"})[0], keys[1], keys[0]}));
  EXPECT_NE(still_keys(c, {"another crop of the same photo"})[0], keys[0]);
  const auto twins = still_keys(c, {"one", "one"});
  EXPECT_EQ(twins[0], keys[0]);
  EXPECT_NE(twins[1], keys[0]);
  EXPECT_NE(still_keys(c, {"one"}, {.model = "other", .prompt_template = {}, .dtype = "float32"})[0], keys[0]);  // its scores come from what the model decodes
  EXPECT_NE(still_keys(c, {"one"}, {.model = "model", .prompt_template = {}, .dtype = "bfloat16"})[0], keys[0]);
  c.rewards.scoring.face_detector.kind = "none";
  EXPECT_EQ(still_keys(c, {"one"})[0], keys[0]);
}

// The text around the prompt belongs to sampled videos.
TEST(Candidates, TheTemplatesContentsBelongToTheKey) {
  const Configuration c = small();
  const auto first = [&](const nlohmann::json& contents) {
    return plan_candidates(c, {}, templates, {.model = "model", .prompt_template = contents, .dtype = "float32"}, "adapter")[0].key;
  };
  EXPECT_EQ(first("contents"), first("contents"));
  EXPECT_NE(first("contents"), first("others"));
  EXPECT_NE(first("contents"), first(nullptr));
}

TEST(ClassSamples, AreNoneByDefault) { EXPECT_TRUE(plan_class_samples(small(), templates, model).empty()); }

TEST(ClassSamples, ImagesAreOneFrameOfTheClassPrompt) {
  Configuration c = small();
  c.reconstruct.prior_preservation = {.weight = 1, .kind = "image", .samples = 4};
  std::set<std::string> keys;
  for (const auto& sample : plan_class_samples(c, templates, model)) {
    keys.insert(sample.key);
    EXPECT_EQ(sample.text, "a photo of person");
    EXPECT_EQ(sample.description.at("size").at("frames"), 1);
    EXPECT_TRUE(sample.description.at("adapter").is_null());
  }
  EXPECT_EQ(keys.size(), 4u);
  // The weight is the training's business: another one finds the same samples.
  c.reconstruct.prior_preservation.weight = 0.5;
  for (const auto& sample : plan_class_samples(c, templates, model)) EXPECT_TRUE(keys.contains(sample.key));
  c.generate.sampling.steps = 7;
  for (const auto& sample : plan_class_samples(c, templates, model)) EXPECT_FALSE(keys.contains(sample.key));
}

TEST(ClassSamples, VideosAreTheFirstOfTheInitialModelsCandidates) {
  Configuration c = small();
  c.generate.initial_per_prompt = 2;
  c.reconstruct.prior_preservation = {.weight = 1, .kind = "video", .samples = 5};
  std::set<std::string> initial;
  for (const auto& candidate : plan(c))
    if (candidate.source == preference::Source::initial) initial.insert(candidate.key);
  std::vector<std::int64_t> prompts;
  for (const auto& sample : plan_class_samples(c, templates, model)) {
    EXPECT_TRUE(initial.contains(sample.key)) << "made twice";
    prompts.push_back(sample.prompt);
  }
  EXPECT_EQ(prompts, (std::vector<std::int64_t>{0, 1, 2, 0, 1}));
}

// True guidance away from the empty text makes other videos; without it the negative prompt determines nothing.
TEST(Candidates, GuidanceBelongsToTheKey) {
  const auto first_key = [](double true_cfg, const std::string& negative) {
    Configuration c = small();
    c.generate.sampling.true_cfg = true_cfg;
    c.generate.sampling.negative_prompt = negative;
    for (const auto& candidate : plan(c))
      if (candidate.source == preference::Source::initial) return candidate.key;
    return std::string();
  };
  const std::set<std::string> keys{first_key(1, ""), first_key(2, ""), first_key(3, ""), first_key(2, "blurry")};
  EXPECT_EQ(keys.size(), 4u);
  EXPECT_EQ(first_key(1, "blurry"), first_key(1, ""));
}

TEST(Previews, AreVideosOfTheAdapterWithNoiseOfTheirOwn) {
  Configuration c = small();
  std::set<std::string> keys, others;
  for (const auto& candidate : plan(c)) others.insert(candidate.key);
  const auto previews = plan_previews(c, templates, model, "adapter");
  ASSERT_EQ(previews.size(), templates.size());
  for (const auto& v : previews) {
    keys.insert(v.key);
    EXPECT_FALSE(others.contains(v.key));
    EXPECT_NE(v.text.find("sks person"), std::string::npos);
    EXPECT_EQ(v.description.at("size").at("frames"), 5);
  }
  EXPECT_EQ(keys.size(), templates.size());
  // Another adapter has other videos of the same noise; another seed, other noise.
  const auto later = plan_previews(c, templates, model, "trained on");
  EXPECT_FALSE(keys.contains(later[0].key));
  const std::vector<std::int64_t> shape{1, 2, 2, 4, 6};
  EXPECT_TRUE(at::equal(candidate_noise(later[0], shape), candidate_noise(previews[0], shape)));
  EXPECT_FALSE(at::equal(candidate_noise(previews[1], shape), candidate_noise(previews[0], shape)));
  c.optimize.previews.seed = 1;
  EXPECT_FALSE(at::equal(candidate_noise(plan_previews(c, templates, model, "adapter")[0], shape), candidate_noise(previews[0], shape)));
  // The run's seed is the training's business.
  c.optimize.previews.seed = 0;
  c.seed = 5;
  EXPECT_EQ(plan_previews(c, templates, model, "adapter")[0].key, previews[0].key);
}

TEST(Candidates, WhereAnAdapterActsIsPartOfTheKeyUnlessItIsEverywhere) {
  const SamplingOptions everywhere;
  SamplingOptions late = everywhere;
  late.adapter_sigmas = {0, 0.6};
  EXPECT_EQ(adapter_description(everywhere, "hash", 0.8), (nlohmann::json{{"trained", "hash"}, {"strength", 0.8}}));
  EXPECT_EQ(adapter_description(late, "hash", 0.8), (nlohmann::json{{"trained", "hash"}, {"strength", 0.8}, {"sigmas", {0.0, 0.6}}}));
}

TEST(Candidates, FurtherAdaptersBelongToEveryVideosKeyByTheirBytes) {
  tests::TemporaryFolder folder;
  tests::write_bytes(folder / "a.safetensors", "one");
  tests::write_bytes(folder / "b.safetensors", "one");
  const ModelIdentity bare{.model = "m", .prompt_template = {}, .dtype = "float32", .adapters = {}, .beginning = {}};
  const auto itself = [](const std::filesystem::path& path) { return std::vector<std::filesystem::path>{path}; };
  SamplingOptions options;
  EXPECT_TRUE(further_adapters_identity(options, itself).is_null());
  options.with_adapters = {{"style", (folder / "a.safetensors").string()}};
  const auto identity = further_adapters_identity(options, itself);
  options.with_adapters = {{"another name", (folder / "b.safetensors").string()}};
  EXPECT_EQ(further_adapters_identity(options, itself), identity) << "neither name nor place of a file counts";
  options.with_sigmas = {0.5, 1};
  EXPECT_NE(further_adapters_identity(options, itself), identity);
  Configuration c;
  ModelIdentity with = bare;
  with.adapters = identity;
  EXPECT_NE(generation_description(c, with), generation_description(c, bare));
  EXPECT_FALSE(generation_description(c, bare).contains("adapters"));
}

// PEFT keeps an adapter's alpha in a file of its own: another alpha is another adapter.
TEST(Candidates, WhatIsReadBesideAnAdapterBelongsToItsIdentity) {
  tests::TemporaryFolder folder;
  tests::write_bytes(folder / "a.safetensors", "one");
  tests::write_bytes(folder / "adapter_config.json", "alpha 1");
  const auto both = [&](const std::filesystem::path& path) { return std::vector<std::filesystem::path>{path, folder / "adapter_config.json"}; };
  const auto first = adapter_identity(folder / "a.safetensors", both);
  tests::write_bytes(folder / "adapter_config.json", "alpha 2");
  EXPECT_NE(adapter_identity(folder / "a.safetensors", both), first);
}

TEST(PairsFile, KeepsWhatIsTrained) {
  tests::TemporaryFolder folder;
  PairsFile file;
  file.candidates = {{.key = "w",
                      .source = preference::Source::tuned,
                      .prompt = 2,
                      .text = "a sks person",
                      .strength = 0.8,
                      .preview = "w.mp4",
                      .raw = {0.5, std::numeric_limits<double>::quiet_NaN(), 0.25},
                      .normalised = {10, 1, 5.5},
                      .rejection = "dynamics reward is nan",
                      .front = -1}};
  file.ranges = {.identity = {0.1, 0.5}, .dynamics = {0, 8}, .semantics = {0.2, 0.3}};
  file.selection.pairs = {{.winner = "w", .loser = "l", .prompt = 2, .identity_gap = 3, .loser_still = true},
                          {.kind = preference::PairKind::dynamic, .winner = "a", .loser = "b"}};
  EXPECT_THROW(file.save(folder / "pairs.h5"), base::InvariantError);  // every pair says under which prompt it is trained
  file.conditions = {"a sks person sings", "a sks person walks"};
  file.save(folder / "pairs.h5");
  EXPECT_EQ(PairsFile::load(folder / "pairs.h5").selection.pairs, file.selection.pairs);
  const auto loaded = PairsFile::load(folder / "pairs.h5");
  EXPECT_EQ(loaded.conditions, file.conditions);
  ASSERT_EQ(loaded.candidates.size(), 1u);
  const auto& c = loaded.candidates.front();
  EXPECT_EQ(std::tie(c.key, c.source, c.prompt, c.text, c.strength, c.preview, c.rejection, c.front),
            std::tuple("w", preference::Source::tuned, 2, "a sks person", 0.8, "w.mp4", "dynamics reward is nan", -1));
  EXPECT_EQ(c.raw.identity, 0.5);
  EXPECT_TRUE(std::isnan(c.raw.dynamics)) << "a reward that is not finite stays one";
  EXPECT_EQ(c.normalised.semantics, 5.5);
  EXPECT_EQ(loaded.ranges.dynamics.maximum, 8);
  EXPECT_EQ(to_json(loaded.ranges), to_json(file.ranges));
}

std::string refusal(const std::string& runs) {
  Configuration c;
  const std::string yaml = "output: /o\nprompts: /p\nmodel: {folder: /m}\nsubject: {references: /r}\n" + runs;
  try {
    config::read_text(yaml, "/c.yaml", [&](config::Fields& fields) { describe(fields, c); });
  } catch (const base::UserError& error) {
    return error.what();
  }
  return {};
}

TEST(Configuration, OtherRunsHaveNamesOfTheirOwnAndAreNotThisOne) {
  EXPECT_EQ(refusal("evaluate: {runs: {identity pairs: runs/x}}\nreuse: /a\n"), "");
  EXPECT_NE(refusal("evaluate: {runs: {hpo: runs/x}}\n").find("'hpo' is an arm of this run"), std::string::npos);
  EXPECT_NE(refusal("reuse: /o/\n").find("own directory"), std::string::npos);
}

TEST(Configuration, AnEvaluationHasAnArm) {
  EXPECT_EQ(refusal("evaluate: {arms: [], folders: {other: videos}}\n"), "");
  EXPECT_EQ(refusal("evaluate: {arms: [], runs: {other: runs/x}}\n"), "");
  EXPECT_NE(refusal("evaluate: {arms: []}\n").find("evaluate.arms: no arm is named"), std::string::npos);
}

TEST(PromptFile, IsTextInOneSpellingWithPlacesForMessages) {
  tests::TemporaryFolder folder;
  const auto file = folder / "prompts.txt";
  tests::write_bytes(file, "\xEF\xBB\xBF# comment\r\n  a {subject} in a cafe\xCC\x81 \t\r\ra {subject} walks\n");
  const auto prompts = read_prompt_lines(file);
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].text, "a {subject} in a caf\xC3\xA9");
  EXPECT_EQ(prompts[0].where, file.string() + ":2");
  EXPECT_EQ(prompts[1].where, file.string() + ":4");
  const auto refused = [&](const std::string& bytes, const std::string& words) {
    tests::write_bytes(file, bytes);
    try {
      read_prompt_templates(file);
      ADD_FAILURE() << "was accepted: " << words;
    } catch (const base::UserError& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  };
  tests::write_bytes(file,
                     "\xEF\xBB\xBF"
                     "a {subject} walks\n");
  EXPECT_EQ(read_prompt_templates(file), std::vector<std::string>{"a {subject} walks"});
  refused("a {subject} walks\na {subject} in a caf\xE9\n", "prompts.txt:2: is not UTF-8: byte 21");
  refused(std::string("\xFF\xFE"
                      "a\0",
                      4),
          "UTF-16");
  refused("a {subject} in a caf\xC3\xA9\na {subject} in a cafe\xCC\x81\n", "prompts.txt:2: the template already stands in line 1");
}

TEST(Configuration, TheBestStepIsChosenAmongPreviews) {
  EXPECT_EQ(refusal("optimize: {keep_best: sum, previews: {every: 50}}\n"), "");
  EXPECT_NE(refusal("optimize: {keep_best: sum}\n").find("optimize.previews.every"), std::string::npos);
  EXPECT_NE(refusal("optimize: {keep_best: loss, previews: {every: 50}}\n").find("semantics"), std::string::npos);
}

}  // namespace
}  // namespace magicid::pipeline
