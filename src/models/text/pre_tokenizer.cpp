#include "models/text/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/text/byte_alphabet.h"
#include "models/text/json_fields.h"
#include "models/text/pattern.h"
#include "models/text/unicode.h"

namespace magicid::models::text {
namespace {

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kClipPattern = R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

}  // namespace

PreTokenizer PreTokenizer::from_json(const nlohmann::json& json, const std::string& where) {
  PreTokenizer out;
  if (json.is_null()) return out;
  const std::string type = require_string(json, "type", where);
  if (type == "Sequence") {
    for (const auto& part : require_array(json, "pretokenizers", where)) {
      for (auto& step : from_json(part, where).steps_) out.steps_.push_back(std::move(step));
    }
  } else if (type == "Split") {
    out.steps_.push_back([pattern = Pattern::from_json(require(json, "pattern", where), where),
                          behavior = split_behavior(require_string(json, "behavior", where), where),
                          invert = bool_or(json, "invert", false, where)](const std::string& text) {
      auto stretches = pattern.find(text);
      for (auto& stretch : stretches) stretch.is_match = stretch.is_match != invert;
      return split(text, std::move(stretches), behavior);
    });
  } else if (type == "ByteLevel") {
    const bool prefix_space = bool_or(json, "add_prefix_space", true, where);
    if (bool_or(json, "use_regex", true, where)) {
      out.steps_.push_back([pattern = Pattern::from_regex(kGpt2Pattern, where), prefix_space](const std::string& text) {
        const std::string prefixed = prefix_space && text.front() != ' ' ? " " + text : text;
        auto pieces = split(prefixed, pattern.find(prefixed), SplitBehavior::isolated);
        for (auto& piece : pieces) piece = bytes_to_alphabet(piece);
        return pieces;
      });
    } else {
      out.steps_.push_back([prefix_space](const std::string& text) {
        return std::vector<std::string>{bytes_to_alphabet(prefix_space && text.front() != ' ' ? " " + text : text)};
      });
    }
  } else if (type == "Digits") {
    const auto behavior = bool_or(json, "individual_digits", false, where) ? SplitBehavior::isolated : SplitBehavior::contiguous;
    out.steps_.push_back([behavior](const std::string& text) { return split(text, find_characters(text, unicode::is_numeric), behavior); });
  } else if (type == "Punctuation") {
    const auto behavior = split_behavior(string_or(json, "behavior", "Isolated", where), where);
    out.steps_.push_back([behavior](const std::string& text) { return split(text, find_characters(text, unicode::is_punctuation), behavior); });
  } else if (type == "WhitespaceSplit") {
    out.steps_.push_back([](const std::string& text) { return split(text, find_characters(text, unicode::is_whitespace), SplitBehavior::removed); });
  } else {
    throw base::UserError(where, ": pre_tokenizer \"", type,
                          "\" is not supported; supported are Sequence, Split, ByteLevel, Digits, Punctuation and WhitespaceSplit");
  }
  return out;
}

PreTokenizer PreTokenizer::clip() {
  return from_json({{"type", "Sequence"},
                    {"pretokenizers",
                     {{{"type", "Split"}, {"pattern", {{"Regex", kClipPattern}}}, {"behavior", "Removed"}, {"invert", true}},
                      {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}},
                   "CLIP's pre_tokenizer");
}

std::vector<std::string> PreTokenizer::operator()(const std::string& text) const {
  std::vector<std::string> pieces;
  if (!text.empty()) pieces.push_back(text);
  for (const auto& step : steps_) {
    std::vector<std::string> next;
    for (const auto& piece : pieces) {
      for (auto& part : step(piece)) next.push_back(std::move(part));
    }
    pieces = std::move(next);
  }
  return pieces;
}

}  // namespace magicid::models::text
