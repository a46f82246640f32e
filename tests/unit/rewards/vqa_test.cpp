// VQAScore over a small random Qwen2.5-VL; the network itself is tested in tests/unit/models/qwen2_5_vl.
#include "rewards/vqa.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "config/writer.h"
#include "models/qwen2_5_vl/chat_prompt.h"
#include "rewards/frame_sampling.h"
#include "rewards/random_networks.h"
#include "rewards/reward_networks.h"
#include "support/temporary_folder.h"

namespace magicid::rewards {
namespace {

namespace fs = std::filesystem;
namespace qwen = models::qwen2_5_vl;
using ::testing::HasSubstr;

class Vqa : public ::testing::Test {
 protected:
  void SetUp() override { write_random_vqa_network(folder_ / "", 5); }
  fs::path network() const { return folder_ / "vqa"; }
  VqaScore load(VqaOptions options) const { return VqaScore::load(network(), options, c10::kCPU); }
  static VqaOptions in_float(VqaOptions options = {}) {
    options.dtype = "float32";
    return options;
  }

  tests::TemporaryFolder folder_;
};

at::Tensor video(std::int64_t frames) { return at::rand({frames, 3, 40, 60}, at::make_generator<at::CPUGeneratorImpl>(7)); }

TEST(VqaAnswers, TheYesProbabilityIsSoftmaxOverTheWholeVocabulary) {
  EXPECT_NEAR(token_probability(at::tensor({std::log(1.f), std::log(2.f), std::log(5.f)}), 1), 0.25, 1e-7);
  EXPECT_TRUE(std::isnan(token_probability(at::tensor({1.f, std::nanf("")}), 0)));
}

TEST(VqaAnswers, ARatingIsTheExpectedValueAndTenIsAOneWithAZeroBehindIt) {
  // Digits 0 to 9 are the tokens 1 to 10; token 0 is another word, which does not count.
  std::array<std::int64_t, 10> digits{};
  for (std::int64_t digit = 0; digit < 10; ++digit) digits[static_cast<std::size_t>(digit)] = digit + 1;
  const auto logits = [](const std::vector<std::pair<std::int64_t, double>>& weights) {
    at::Tensor x = at::full({11}, -1e9, at::kDouble);
    for (const auto& [token, weight] : weights) x[token] = std::log(weight);
    return x;
  };
  const at::Tensor zero = logits({{1, 1}}), other = logits({{0, 1}}), often = logits({{0, 3}, {1, 1}});
  EXPECT_NEAR(expected_rating(logits({{8, 1}}), other, digits), 7, 1e-12);
  EXPECT_NEAR(expected_rating(logits({{0, 6}, {4, 1}, {10, 3}}), other, digits), 0.25 * 3 + 0.75 * 9, 1e-12);
  EXPECT_NEAR(expected_rating(logits({{2, 1}}), other, digits), 1, 1e-12);
  EXPECT_NEAR(expected_rating(logits({{2, 1}}), zero, digits), 10, 1e-12);
  EXPECT_NEAR(expected_rating(logits({{2, 1}, {6, 1}}), often, digits), 0.5 * (0.75 * 1 + 0.25 * 10) + 0.5 * 5, 1e-12);
  EXPECT_NEAR(expected_rating(logits({{1, 1}, {3, 1}}), other, digits), 2, 1e-12) << "0 is no rating";
}

TEST(VqaAnswers, QuestionsHaveOnePlaceForThePrompt) {
  EXPECT_EQ(ask({}, "a \"red\" hat"), "Does this video show \"a \"red\" hat\"? Please answer yes or no.");
  EXPECT_THAT(ask({.answer = "rating"}, "x"), HasSubstr("number from 1 to 10"));
  EXPECT_EQ(ask({.question = "Is it {}?"}, "{}"), "Is it {}?");
  EXPECT_TRUE(is_question(""));
  for (const char* wrong : {"no place", "{} and {}", "{prompt}"}) EXPECT_FALSE(is_question(wrong)) << wrong;
}

TEST_F(Vqa, TheScoreIsTheNetworksAnswerAboutTheFramesShown) {
  const VqaOptions options = in_float({.frames = 4});
  const at::Tensor frames = video(7);
  const double score = load(options)(frames, 3, "a woman walks");
  // The same by hand: frames 0, 2, 4 and 6, which follow each other at 1.5 a second.
  const auto model = qwen::QwenVl::load(network(), {});
  const auto tokenizer = models::text::Tokenizer::load(network());
  const auto seen = qwen::VideoProcessor::load(network(), model.config().vision)(frames.slice(0, 0, 7, 2));
  const auto ids = qwen::chat_ids(tokenizer, model.config(), ask(options, "a woman walks"), seen.grid.patches() / 4);
  const auto answer = [&](double rate) {
    return token_probability(
        model.logits({.input_ids = ids, .pixel_values_videos = seen.pixel_values_videos, .grid = seen.grid, .second_per_grid = 2 / rate})[0],
        yes_token(tokenizer));
  };
  EXPECT_EQ(score, answer(1.5));
  EXPECT_NE(score, answer(3)) << "the true rate of what is shown goes in";
  EXPECT_GT(score, 0);
  EXPECT_LT(score, 1);
  EXPECT_EQ(load(options)(frames, 3, "a woman walks"), score);
  EXPECT_NE(load(options)(frames, 3, "a man walks"), score);
  EXPECT_NE(load(options)(frames.flip(0), 3, "a woman walks"), score) << "order counts";
}

TEST_F(Vqa, ARatingIsOnePassThatGivesBothTokens) {
  const VqaOptions options = in_float({.answer = "rating"});
  const at::Tensor frames = video(2);
  const double rating = load(options)(frames, 8, "a dog");
  const auto model = qwen::QwenVl::load(network(), {});
  const auto tokenizer = models::text::Tokenizer::load(network());
  const auto seen = qwen::VideoProcessor::load(network(), model.config().vision)(frames);
  qwen::VideoQuestion question{.input_ids = qwen::chat_ids(tokenizer, model.config(), ask(options, "a dog"), seen.grid.patches() / 4),
                               .pixel_values_videos = seen.pixel_values_videos,
                               .grid = seen.grid,
                               .second_per_grid = 0.25};
  const at::Tensor first = model.logits(question)[0];
  const auto digits = digit_tokens(tokenizer);
  question.input_ids.push_back(digits[1]);
  EXPECT_NEAR(rating, expected_rating(first, model.logits(question)[0], digits), 1e-6);
  EXPECT_GE(rating, 1);
  EXPECT_LE(rating, 10);
}

TEST_F(Vqa, StillsAndAllFramesCanBeScored) {
  EXPECT_GT(load(in_float())(video(1), 8, "a photo"), 0);
  const double all = load(in_float({.frames = 0}))(video(5), 8, "a photo");
  EXPECT_EQ(load(in_float({.frames = 5}))(video(5), 8, "a photo"), all);
  EXPECT_NEAR(load({.frames = 5})(video(5), 8, "a photo"), all, 0.05 * all) << "bfloat16";
}

TEST_F(Vqa, AFolderThatIsNoneIsFoundBeforeTheWeightsAreRead) {
  fs::remove(network() / "model.safetensors");
  EXPECT_NO_THROW(VqaScore::check(network(), {}));
  fs::remove(network() / "preprocessor_config.json");
  EXPECT_THROW(VqaScore::check(network(), {}), base::UserError);
  RewardOptions options;
  try {
    vqa_folder(options, folder_ / "model");
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rewards.vqa: "));
  }
}

// Keys and fingerprints of runs with CLIP must stay as they were before there was a choice.
TEST(VqaSettings, EnterNoFingerprintByThemselves) {
  RewardOptions plain, asked;
  asked.semantics = "vqa";
  asked.vqa = "/somewhere";
  asked.question = {.answer = "rating", .question = "Is it {}?", .frames = 3, .dtype = "float32"};
  const auto fingerprint = [](RewardOptions& options) { return config::to_json(config::described(options), config::FieldSet::fingerprint); };
  EXPECT_EQ(fingerprint(plain), fingerprint(asked));
  for (const char* key : {"semantics", "vqa", "vqa_answer", "vqa_question", "vqa_frames", "vqa_dtype"}) EXPECT_FALSE(fingerprint(plain).contains(key)) << key;
  EXPECT_NE(vqa_description(plain.question), vqa_description(asked.question));
  VqaOptions written_out;
  written_out.question = default_question("yes");
  EXPECT_EQ(vqa_description({}), vqa_description(written_out)) << "the question counts, not how it was given";
}

}  // namespace
}  // namespace magicid::rewards
