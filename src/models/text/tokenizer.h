// Tokenisers as transformers saves them: text to ids and back, equal to its fast tokenisers.
//
// Reads tokenizer.json (byte-level BPE, CLIP), or CLIP's vocab.json + merges.txt; tokenizer_config.json and special_tokens_map.json beside them.
// Source: github.com/huggingface/tokenizers; transformers' tokenization_utils_tokenizers.py and models/clip/tokenization_clip.py (5.23).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace magicid::models::text {

// What tokenizer_config.json says beside the vocabulary. Tokens that a folder does not name stay empty.
struct TokenizerSettings {
  std::optional<std::string> bos_token, eos_token, pad_token, unk_token;
  std::optional<std::int64_t> model_max_length;  // empty when the file sets no limit (transformers writes 1e30 then)
  bool pad_left = false, truncate_left = false;
};

struct PaddedTokens {
  std::vector<std::int64_t> ids, attention_mask;  // both of the length asked for; mask 1 for text, 0 for padding
  std::vector<std::int64_t> cut_ids;              // tokens of the text that did not fit, in order; empty when all fitted
  std::string cut_text;                           // cut_ids decoded without special tokens: lower case with CLIP
};

class Tokenizer {
 public:
  // Throws UserError naming file and key for anything that this program cannot reproduce exactly.
  static Tokenizer load(const std::filesystem::path& folder);

  // Ids of `text`. Throws UserError when it is not UTF-8.
  std::vector<std::int64_t> encode(const std::string& text, bool add_special_tokens = true) const;

  // As transformers' tokenizer(text, padding="max_length", truncation=True, max_length=...): special tokens added, text cut so that they
  // fit, padded with the pad token. Throws UserError when there is no pad token or max_length is below the number of special tokens.
  PaddedTokens encode_padded(const std::string& text, std::int64_t max_length) const;

  // Ids without a token are left out. Bytes that are not UTF-8 (a character cut in two) become U+FFFD.
  std::string decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens = false) const;

  std::optional<std::int64_t> id(const std::string& token) const;
  // Number of tokens, added ones included.
  std::int64_t vocabulary_size() const;
  const TokenizerSettings& settings() const;
  // The id of settings().pad_token, if there is one.
  std::optional<std::int64_t> pad_id() const;

 private:
  struct Contents;
  std::shared_ptr<const Contents> contents_;
};

}  // namespace magicid::models::text
