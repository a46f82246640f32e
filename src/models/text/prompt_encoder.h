// Prompts as HunyuanVideo's transformer reads them: diffusers' HunyuanVideoPipeline.encode_prompt.
// L: tokens kept, D: LLaMA's width, P: CLIP's width.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/generator/condition.h"
#include "models/text/clip_text.h"
#include "models/text/llama.h"
#include "models/text/prompt_template.h"
#include "models/text/tokenizer.h"

namespace magicid::models::text {

// Tokens as the two encoders get them, with what did not fit.
struct PromptTokens {
  PaddedTokens llama;          // of the rendered template, max_length + crop_start tokens
  PaddedTokens clip;           // of the prompt alone, 77 tokens
  std::string llama_cut_text;  // the end of the prompt that LLaMA does not see; empty when it sees all
  std::string clip_cut_text;   // the end of the prompt that CLIP does not see (in lower case); empty when it sees all
};

struct PromptEmbeddings {
  at::Tensor prompt_embeds;          // [1,L,D]; zeros at padding
  at::Tensor pooled_prompt_embeds;   // [1,P]
  at::Tensor prompt_attention_mask;  // [1,L] int64
  PromptTokens tokens;

  // What the transformer reads of it.
  operator generator::Condition() const;
};

// The two tokenisers of a pipeline folder alone: enough to count tokens and to warn of long prompts before any model is loaded.
class PromptTokenizer {
 public:
  // Reads `tokenizer` and `tokenizer_2`. Throws UserError; also when the first one pads or cuts on the left, which would break the crop.
  static PromptTokenizer load(const std::filesystem::path& pipeline_folder);

  // `max_length`: tokens of the prompt that LLaMA's states are kept for. Throws UserError for text that is not UTF-8 and for a max_length below 1.
  PromptTokens operator()(const std::string& prompt, const PromptTemplate& prompt_template = PromptTemplate::hunyuan_video(),
                          std::int64_t max_length = 256) const;

  // The encoders that do not read the first part of a prompt to its end, each with its limit in words; empty when both do. For a word that must not be lost:
  // `beginning` ends with it.
  std::vector<std::string> limits_within(const std::string& beginning, const PromptTemplate& prompt_template = PromptTemplate::hunyuan_video(),
                                         std::int64_t max_length = 256) const;

  const Tokenizer& llama() const { return llama_; }
  const Tokenizer& clip() const { return clip_; }

 private:
  Tokenizer llama_, clip_;
};

// One line for the log when part of a prompt was cut, showing that part; nothing when all of it was read.
std::optional<std::string> over_length_warning(const PromptTokens& tokens);

class PromptEncoder {
 public:
  // Reads `tokenizer`, `tokenizer_2`, `text_encoder` and `text_encoder_2` of a pipeline folder. Throws UserError.
  static PromptEncoder load(const std::filesystem::path& pipeline_folder, const nn::Placement& placement, std::int64_t layers_to_skip = 2);

  // Tensors on the placement's device, embeddings in its dtype. Logs nothing: see over_length_warning. Throws UserError as PromptTokenizer does, and
  // when a prompt leaves no token behind the crop.
  PromptEmbeddings operator()(const std::string& prompt, const PromptTemplate& prompt_template = PromptTemplate::hunyuan_video(),
                              std::int64_t max_length = 256) const;

  const PromptTokenizer& tokenizer() const { return tokenizer_; }
  const LlamaEncoder& llama() const { return llama_; }
  const ClipTextEncoder& clip() const { return clip_; }

 private:
  PromptTokenizer tokenizer_;
  LlamaEncoder llama_;
  ClipTextEncoder clip_;
  nn::Placement placement_;
};

}  // namespace magicid::models::text
