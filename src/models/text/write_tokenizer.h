// Small, valid tokenisers for models that are made here rather than downloaded, in the files that transformers opens.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace magicid::models::text {

// Llama-3's kind: all 256 bytes, HunyuanVideo's special tokens, and whole words as tokens of their own ("ignore_merges"). The words of
// HunyuanVideo's prompt template are always among them, so that its crop_start of 95 holds as with the real vocabulary. `extra_words` are
// further words, without their leading space; each becomes a token with and without one. Writes tokenizer.json, tokenizer_config.json and
// special_tokens_map.json; class PreTrainedTokenizerFast. Returns the number of tokens. Ids depend on the words alone.
std::int64_t write_byte_level_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& extra_words = {});

// CLIP's kind: all bytes with and without </w>, merges that build each of `words` (lower case), <|startoftext|> and <|endoftext|>, 77 tokens at
// most. Writes tokenizer.json, vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json; class CLIPTokenizer. Returns the number of
// tokens; <|endoftext|> is the last.
std::int64_t write_clip_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& words);

// Qwen2's kind: all 256 bytes, merges that build each of `words` with and without the space before it, and Qwen2.5-VL's special tokens, the video's among them.
// Writes tokenizer.json and tokenizer_config.json; class Qwen2Tokenizer. Returns the number of tokens.
std::int64_t write_qwen_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& words);

// Words that often stand in prompts: a default for both.
const std::vector<std::string>& common_prompt_words();

}  // namespace magicid::models::text
