// The `decoder` of a tokenizer.json: tokens back to text.
// Source: tokenizers/src/decoders/ of github.com/huggingface/tokenizers.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace magicid::models::text {

class TokenDecoder {
 public:
  // ByteLevel, ByteFallback, Fuse, Replace, Sequence, or null (tokens joined by spaces). Throws UserError naming any other.
  static TokenDecoder from_json(const nlohmann::json& json, const std::string& where);
  std::string operator()(std::vector<std::string> tokens) const;

 private:
  std::vector<std::function<std::vector<std::string>(std::vector<std::string>)>> steps_;
  bool join_with_spaces_ = false;
};

}  // namespace magicid::models::text
