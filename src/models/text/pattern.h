// Regular expressions of tokeniser files, and how text is split by them.
//
// The files are written for Oniguruma with Ruby's syntax (that is what the reference library links). A pattern is translated to PCRE2
// (UTF, UCP); constructs that mean something else there, and have no translation, are refused by name.
// Source: tokenizers/src/utils/onig.rs and tokenizer/normalizer.rs of github.com/huggingface/tokenizers; Oniguruma's doc/RE.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace magicid::models::text {

// A stretch of bytes [begin, end) that matched, or the text between two matches. A list of them covers the whole text.
struct Stretch {
  std::size_t begin = 0, end = 0;
  bool is_match = false;
};

class Pattern {
 public:
  // `where` names file and place in messages. Throws UserError for a pattern that cannot be used.
  static Pattern from_regex(const std::string& regex, const std::string& where);
  static Pattern from_literal(const std::string& literal, const std::string& where);
  // {"Regex": "..."} or {"String": "..."}, as Split and Replace hold it.
  static Pattern from_json(const nlohmann::json& json, const std::string& where);

  // `text` must be valid UTF-8. An empty text is one stretch that does not match.
  std::vector<Stretch> find(std::string_view text) const;

 private:
  std::shared_ptr<const void> code_;  // pcre2_code
  std::string literal_;               // used when there is no code
};

// Stretches of the characters for which `is_match` holds, each character its own stretch.
std::vector<Stretch> find_characters(std::string_view text, const std::function<bool(char32_t)>& is_match);

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
SplitBehavior split_behavior(const std::string& name, const std::string& where);

// The pieces of `text`; empty ones are left out.
std::vector<std::string> split(std::string_view text, std::vector<Stretch> stretches, SplitBehavior behavior);

}  // namespace magicid::models::text
