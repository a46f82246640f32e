#include "rewards/vqa.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/log.h"
#include "models/nn/network_config.h"
#include "models/qwen2_5_vl/chat_prompt.h"
#include "models/text/prompt_template.h"
#include "rewards/frame_sampling.h"

namespace magicid::rewards {
namespace {

namespace fs = std::filesystem;
namespace qwen = models::qwen2_5_vl;

constexpr const char* yes_question = "Does this video show \"{}\"? Please answer yes or no.";
constexpr const char* rating_question = "How well does this video show \"{}\"? Please answer with a number from 1 to 10 alone.";

at::Tensor probabilities(const at::Tensor& logits) { return at::softmax(logits.to(at::kCPU, at::kDouble), 0); }

}  // namespace

bool is_question(const std::string& question) {
  if (question.empty()) return true;
  try {
    models::text::PromptTemplate{question, 0}.head();
    return true;
  } catch (const base::UserError&) {
    return false;
  }
}

std::string default_question(const std::string& answer) { return answer == "rating" ? rating_question : yes_question; }

std::string ask(const VqaOptions& options, const std::string& prompt) {
  return models::text::PromptTemplate{options.question.empty() ? default_question(options.answer) : options.question, 0}.render(prompt);
}

nlohmann::json vqa_description(const VqaOptions& options) {
  return {{"answer", options.answer}, {"question", ask(options, "{}")}, {"frames", options.frames}, {"dtype", options.dtype}};
}

std::int64_t yes_token(const models::text::Tokenizer& tokenizer) { return tokenizer.encode("Yes", false).at(0); }

double token_probability(const at::Tensor& logits, std::int64_t token) {
  base::check_invariant(logits.dim() == 1 && token >= 0 && token < logits.size(0), "token ", token, " of logits ", logits.sizes());
  return probabilities(logits)[token].item<double>();
}

std::array<std::int64_t, 10> digit_tokens(const models::text::Tokenizer& tokenizer) {
  std::array<std::int64_t, 10> tokens{};
  for (std::size_t digit = 0; digit < tokens.size(); ++digit) {
    const auto ids = tokenizer.encode(std::to_string(digit), false);
    if (ids.size() != 1)
      throw base::UserError("rewards.vqa_answer: rating needs a tokeniser that writes each digit as one token, as Qwen2.5's does; this one writes ", digit,
                            " in ", ids.size());
    tokens[digit] = ids[0];
  }
  return tokens;
}

double expected_rating(const at::Tensor& first, const at::Tensor& after_one, const std::array<std::int64_t, 10>& digits) {
  const at::Tensor p = probabilities(first);
  const double ten = token_probability(after_one, digits[0]);  // of those that begin with 1
  double sum = 0, whole = 0;
  for (std::size_t digit = 1; digit < digits.size(); ++digit) {
    const double mass = p[digits[digit]].item<double>();
    whole += mass;
    sum += mass * (digit == 1 ? 1 + 9 * ten : static_cast<double>(digit));
  }
  return sum / whole;
}

at::ScalarType vqa_dtype(const VqaOptions& options) { return options.dtype == "float32" ? at::kFloat : at::kBFloat16; }

void VqaScore::check(const fs::path& folder, const VqaOptions& options) {
  const auto config = qwen::QwenVlConfig::from_json(models::nn::NetworkConfig::open(folder / "config.json"));
  qwen::VideoProcessor::load(folder, config.vision);
  const auto tokenizer = models::text::Tokenizer::load(folder);
  qwen::chat_ids(tokenizer, config, ask(options, "a video"), 1);
  if (options.answer == "rating") digit_tokens(tokenizer);
  else if (tokenizer.encode("Yes", false).size() != 1)
    base::log::warning(folder.string() + ": the tokeniser writes Yes in several tokens; the reward is the probability of the first of them");
  if (const auto warning = qwen::check_chat_template(folder)) base::log::warning(*warning);
}

VqaScore VqaScore::load(const fs::path& folder, const VqaOptions& options, c10::Device device) {
  VqaScore score;
  score.options_ = options;
  score.network_ = qwen::QwenVl::load(folder, {device, vqa_dtype(options)});
  score.processor_ = qwen::VideoProcessor::load(folder, score.network_.config().vision);
  score.tokenizer_ = std::make_shared<models::text::Tokenizer>(models::text::Tokenizer::load(folder));
  return score;
}

double VqaScore::operator()(const at::Tensor& frames, double fps, const std::string& prompt) const {
  const c10::AutoGradMode no_grad(false);
  base::check_invariant(frames.dim() == 4 && frames.size(0) >= 1 && fps > 0, "VqaScore needs frames [F,3,H,W] and their rate");
  const auto shown = evenly_spaced_frames(frames.size(0), options_.frames);
  const auto steps = static_cast<double>(shown.size() - 1);
  const double rate = shown.size() > 1 ? fps * steps / static_cast<double>(frames.size(0) - 1) : fps;
  const auto& config = network_.config();
  const auto video = processor_(frames.index_select(0, at::tensor(shown, at::TensorOptions(frames.device()).dtype(at::kLong))));
  const std::int64_t merge = config.vision.spatial_merge_size;
  qwen::VideoQuestion question{.input_ids = qwen::chat_ids(*tokenizer_, config, ask(options_, prompt), video.grid.patches() / (merge * merge)),
                               .pixel_values_videos = video.pixel_values_videos,
                               .grid = video.grid,
                               .second_per_grid = static_cast<double>(config.vision.temporal_patch_size) / rate};
  if (options_.answer != "rating") return token_probability(network_.logits(question)[0], yes_token(*tokenizer_));
  // A 1 is put behind the question: its place tells how probable a 0 is behind it, the place before it what the answer begins with.
  const auto digits = digit_tokens(*tokenizer_);
  question.input_ids.push_back(digits[1]);
  const at::Tensor logits = network_.logits(question, 2);
  return expected_rating(logits[0], logits[1], digits);
}

}  // namespace magicid::rewards
