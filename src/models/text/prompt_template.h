// The instruction that HunyuanVideo's LLaMA reads around a prompt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace magicid::models::text {

struct PromptTemplate {
  std::string text;             // with one {}, where the prompt goes; {{ and }} stand for braces, as in Python's str.format
  std::int64_t crop_start = 0;  // tokens in front of the prompt, whose states are dropped

  // HunyuanVideo's own for videos, crop_start 95 (hyvideo/constants.py of github.com/Tencent-Hunyuan/HunyuanVideo; diffusers'
  // DEFAULT_PROMPT_TEMPLATE).
  static PromptTemplate hunyuan_video();
  // A JSON file {"template": "...{}...", "crop_start": N}. Throws UserError; also when crop_start is missing or null, for diffusers would then
  // derive it from the tokeniser's model_max_length, which is no property of the template.
  static PromptTemplate load(const std::filesystem::path& file);

  // Throws UserError when the text has not exactly one {}, or other fields.
  std::string render(const std::string& prompt) const;
  // What stands in front of the prompt and behind it.
  std::string head() const;
  std::string tail() const;
};

}  // namespace magicid::models::text
