// The `pre_tokenizer` of a tokenizer.json: cuts text into the words that BPE sees.
// Source: tokenizers/src/pre_tokenizers/ of github.com/huggingface/tokenizers.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace magicid::models::text {

class PreTokenizer {
 public:
  // Sequence, Split, ByteLevel, Digits, Punctuation, WhitespaceSplit, or null. Throws UserError naming any other.
  static PreTokenizer from_json(const nlohmann::json& json, const std::string& where);
  // CLIP's: its Split pattern with what does not match removed, then bytes to stand-ins.
  static PreTokenizer clip();

  // `text` must be valid UTF-8; no piece is empty.
  std::vector<std::string> operator()(const std::string& text) const;

 private:
  using Step = std::function<std::vector<std::string>(const std::string&)>;
  std::vector<Step> steps_;
};

}  // namespace magicid::models::text
