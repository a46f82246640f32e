// The `post_processor` of a tokenizer.json: which special tokens surround a text.
// Source: tokenizers/src/processors/ of github.com/huggingface/tokenizers. Only single texts are handled, no pairs.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace magicid::models::text {

class PostProcessor {
 public:
  // ByteLevel (changes no ids), TemplateProcessing, RobertaProcessing, BertProcessing, Sequence, or null. Throws UserError naming any other.
  static PostProcessor from_json(const nlohmann::json& json, const std::string& where);
  static PostProcessor surround(std::vector<std::int64_t> before, std::vector<std::int64_t> after);

  std::vector<std::int64_t> operator()(const std::vector<std::int64_t>& ids) const;
  std::int64_t added_tokens() const { return static_cast<std::int64_t>(before_.size() + after_.size()); }
  bool null() const { return null_; }

 private:
  std::vector<std::int64_t> before_, after_;
  bool null_ = false;
};

}  // namespace magicid::models::text
