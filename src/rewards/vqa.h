// R_sem by a vision-language model: the video and a question about the prompt go in, and what is read is how probable the answer is.
// Source: VQAScore (Lin et al. 2024, arXiv:2404.01291; github.com/linzhiqiu/t2v_metrics), with Qwen2.5-VL and a question about a video.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/qwen2_5_vl/network.h"
#include "models/qwen2_5_vl/video_processor.h"
#include "models/text/tokenizer.h"
#include "rewards/options.h"

namespace magicid::rewards {

// Empty, or a text with exactly one {} (and {{ and }} for braces).
bool is_question(const std::string& question);
// Asks for yes or no, or for a rating, by VqaOptions::answer.
std::string default_question(const std::string& answer);
// The question about this prompt.
std::string ask(const VqaOptions& options, const std::string& prompt);

// What of the options determines a score, the question written out.
nlohmann::json vqa_description(const VqaOptions& options);

// The token that an answer of "Yes" begins with.
std::int64_t yes_token(const models::text::Tokenizer& tokenizer);
// Its probability, 0..1. logits [V].
double token_probability(const at::Tensor& logits, std::int64_t token);

// Tokens of the digits 0 to 9. Throws UserError when the tokeniser writes one in several tokens.
std::array<std::int64_t, 10> digit_tokens(const models::text::Tokenizer& tokenizer);
// Expected value, 1..10, of a rating whose first token is a digit from 1 to 9. `first` [V]: logits of the first token; `after_one` [V]: those of the token
// behind a first 1, since 10 is a 1 with a 0 behind it. Other first tokens are left out, and what remains is taken as the whole.
double expected_rating(const at::Tensor& first, const at::Tensor& after_one, const std::array<std::int64_t, 10>& digits);

class VqaScore {
 public:
  // Reads all of the folder but the weights, so that a wrong one is found before hours of work. Throws UserError for a folder that is no Qwen2.5-VL, and for
  // tokenisers and chat templates that do not fit; logs a warning for a template that is not the published one.
  static void check(const std::filesystem::path& folder, const VqaOptions& options);
  // Throws UserError for a folder that is no Qwen2.5-VL. Of tokeniser and chat template check() has told.
  static VqaScore load(const std::filesystem::path& folder, const VqaOptions& options, c10::Device device);

  // frames [F,3,H,W] RGB in 0..1 at `fps`, of which options.frames evenly spaced ones are shown, at the rate at which they follow each other. The probability
  // of "Yes", or the rating. One pass through the model. Throws UserError for a prompt that holds tokens of pictures or videos.
  double operator()(const at::Tensor& frames, double fps, const std::string& prompt) const;

 private:
  VqaOptions options_;
  models::qwen2_5_vl::QwenVl network_;
  models::qwen2_5_vl::VideoProcessor processor_;
  std::shared_ptr<const models::text::Tokenizer> tokenizer_;
};

// Of the option's name.
at::ScalarType vqa_dtype(const VqaOptions& options);

}  // namespace magicid::rewards
