// The `normalizer` of a tokenizer.json.
// Source: tokenizers/src/normalizers/ of github.com/huggingface/tokenizers.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace magicid::models::text {

class Normalizer {
 public:
  // NFC, NFD, NFKC, NFKD, Lowercase, Replace, Strip, StripAccents, Prepend, Sequence, or null. Throws UserError naming any other.
  static Normalizer from_json(const nlohmann::json& json, const std::string& where);
  // CLIP's: NFC, white space to one space, lower case.
  static Normalizer clip();

  // `text` must be valid UTF-8.
  std::string operator()(std::string text) const;
  bool empty() const { return steps_.empty(); }

 private:
  std::vector<std::function<std::string(std::string)>> steps_;
};

}  // namespace magicid::models::text
