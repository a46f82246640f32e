#include "models/text/normalizer.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/text/json_fields.h"
#include "models/text/pattern.h"
#include "models/text/unicode.h"

namespace magicid::models::text {
namespace {

std::string replace(const std::string& text, const Pattern& pattern, const std::string& content) {
  std::string out;
  for (const Stretch& stretch : pattern.find(text)) {
    if (stretch.is_match) out += content;
    else out.append(text, stretch.begin, stretch.end - stretch.begin);
  }
  return out;
}

std::string strip(const std::string& text, bool left, bool right) {
  std::size_t begin = 0, end = text.size();
  while (left && begin < end) {
    std::size_t after = begin;
    if (!unicode::is_whitespace(unicode::next(text, after))) break;
    begin = after;
  }
  while (right && end > begin) {
    const std::size_t before = unicode::previous(text, end);
    std::size_t at = before;
    if (!unicode::is_whitespace(unicode::next(text, at))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

std::string strip_accents(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = unicode::next(text, at);
    if (!unicode::is_combining_mark(c)) unicode::append(out, c);
  }
  return out;
}

}  // namespace

Normalizer Normalizer::from_json(const nlohmann::json& json, const std::string& where) {
  Normalizer normalizer;
  if (json.is_null()) return normalizer;
  const std::string type = require_string(json, "type", where);
  const auto add = [&](std::function<std::string(std::string)> step) { normalizer.steps_.push_back(std::move(step)); };
  const auto add_form = [&](unicode::NormalForm form) { add([form](std::string text) { return unicode::normalize(text, form); }); };
  if (type == "NFC") add_form(unicode::NormalForm::nfc);
  else if (type == "NFD") add_form(unicode::NormalForm::nfd);
  else if (type == "NFKC") add_form(unicode::NormalForm::nfkc);
  else if (type == "NFKD") add_form(unicode::NormalForm::nfkd);
  else if (type == "Lowercase") add([](std::string text) { return unicode::lowercase(text); });
  else if (type == "StripAccents") add([](std::string text) { return strip_accents(text); });
  else if (type == "Strip" || type == "StripNormalizer") {
    add([left = bool_or(json, "strip_left", true, where), right = bool_or(json, "strip_right", true, where)](std::string text) {
      return strip(text, left, right);
    });
  } else if (type == "Prepend") {
    add([prefix = require_string(json, "prepend", where)](std::string text) { return text.empty() ? text : prefix + text; });
  } else if (type == "Replace") {
    add([pattern = Pattern::from_json(require(json, "pattern", where), where), content = require_string(json, "content", where)](std::string text) {
      return replace(text, pattern, content);
    });
  } else if (type == "Sequence") {
    for (const auto& part : require_array(json, "normalizers", where)) {
      for (auto& step : from_json(part, where).steps_) normalizer.steps_.push_back(std::move(step));
    }
  } else {
    throw base::UserError(where, ": normalizer \"", type,
                          "\" is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, Replace, Strip, StripAccents, Prepend and Sequence");
  }
  return normalizer;
}

Normalizer Normalizer::clip() {
  return from_json({{"type", "Sequence"},
                    {"normalizers", {{{"type", "NFC"}}, {{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}}, {{"type", "Lowercase"}}}}},
                   "CLIP's normalizer");
}

std::string Normalizer::operator()(std::string text) const {
  for (const auto& step : steps_) text = step(std::move(text));
  return text;
}

}  // namespace magicid::models::text
