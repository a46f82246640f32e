#include "models/text/decoder.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/text.h"
#include "models/text/byte_alphabet.h"
#include "models/text/json_fields.h"
#include "models/text/pattern.h"
#include "models/text/unicode.h"

namespace magicid::models::text {
namespace {

using Tokens = std::vector<std::string>;

std::string concatenate(const Tokens& tokens) {
  std::string out;
  for (const auto& token : tokens) out += token;
  return out;
}

Tokens byte_level(const Tokens& tokens) {
  std::string bytes;
  for (const auto& token : tokens) bytes += alphabet_to_bytes(token).value_or(token);
  return {unicode::replace_invalid(bytes)};
}

// <0xE2><0x82><0xAC> to the character; bytes that are not UTF-8 become one U+FFFD each.
Tokens byte_fallback(const Tokens& tokens) {
  Tokens out;
  std::string pending;
  const auto flush = [&] {
    if (base::is_utf8(pending)) out.push_back(pending);
    else out.insert(out.end(), pending.size(), "\xEF\xBF\xBD");
    pending.clear();
  };
  for (const auto& token : tokens) {
    const bool is_byte = token.size() == 6 && token.starts_with("<0x") && token.back() == '>' && token.find_first_not_of("0123456789abcdefABCDEF", 3) == 5;
    if (is_byte) {
      pending += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
      continue;
    }
    if (!pending.empty()) flush();
    out.push_back(token);
  }
  if (!pending.empty()) flush();
  return out;
}

}  // namespace

TokenDecoder TokenDecoder::from_json(const nlohmann::json& json, const std::string& where) {
  TokenDecoder out;
  if (json.is_null()) {
    out.join_with_spaces_ = true;
    return out;
  }
  const std::string type = require_string(json, "type", where);
  if (type == "ByteLevel") out.steps_.push_back(byte_level);
  else if (type == "ByteFallback") out.steps_.push_back(byte_fallback);
  else if (type == "Fuse") out.steps_.push_back([](Tokens tokens) { return Tokens{concatenate(tokens)}; });
  else if (type == "Replace") {
    out.steps_.push_back(
        [pattern = Pattern::from_json(require(json, "pattern", where), where), content = require_string(json, "content", where)](Tokens tokens) {
          for (auto& token : tokens) {
            std::string replaced;
            for (const Stretch& stretch : pattern.find(token))
              replaced += stretch.is_match ? content : token.substr(stretch.begin, stretch.end - stretch.begin);
            token = replaced;
          }
          return tokens;
        });
  } else if (type == "Sequence") {
    for (const auto& part : require_array(json, "decoders", where)) {
      for (auto& step : from_json(part, where).steps_) out.steps_.push_back(std::move(step));
    }
  } else {
    throw base::UserError(where, ": decoder \"", type, "\" is not supported; supported are ByteLevel, ByteFallback, Fuse, Replace and Sequence");
  }
  return out;
}

std::string TokenDecoder::operator()(std::vector<std::string> tokens) const {
  if (join_with_spaces_) {
    std::string out;
    for (const auto& token : tokens) out += (out.empty() ? "" : " ") + token;
    return out;
  }
  for (const auto& step : steps_) tokens = step(std::move(tokens));
  return concatenate(tokens);
}

}  // namespace magicid::models::text
