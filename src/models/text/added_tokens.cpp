#include "models/text/added_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/text/json_fields.h"
#include "models/text/pattern.h"
#include "models/text/unicode.h"

namespace magicid::models::text {
namespace {

// The reference's \w (Rust's regex crate).
bool is_word(std::string_view character) {
  static const Pattern pattern = Pattern::from_regex(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])", "word characters");
  return pattern.find(character).front().is_match;
}

bool word_touches(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0) {
    const std::size_t before = unicode::previous(text, begin);
    if (is_word(text.substr(before, begin - before))) return true;
  }
  if (end < text.size()) {
    std::size_t after = end;
    unicode::next(text, after);
    if (is_word(text.substr(end, after - end))) return true;
  }
  return false;
}

}  // namespace

AddedToken AddedToken::from_json(const nlohmann::json& json, const std::string& where) {
  AddedToken token;
  token.content = require_string(json, "content", where);
  token.special = bool_or(json, "special", false, where);
  token.single_word = bool_or(json, "single_word", false, where);
  token.lstrip = bool_or(json, "lstrip", false, where);
  token.rstrip = bool_or(json, "rstrip", false, where);
  token.normalized = bool_or(json, "normalized", !token.special, where);
  return token;
}

void AddedTokens::Matcher::add(std::string text, std::size_t token) {
  if (text.empty()) return;
  auto& bucket = by_first_byte_[static_cast<unsigned char>(text.front())];
  const auto at = std::find_if(bucket.begin(), bucket.end(), [&](const auto& entry) { return entry.first.size() < text.size(); });
  bucket.emplace(at, std::move(text), token);
}

std::optional<AddedTokens::Match> AddedTokens::Matcher::find(std::string_view text, std::size_t from) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    for (const auto& [wanted, token] : by_first_byte_[static_cast<unsigned char>(text[begin])]) {
      if (text.compare(begin, wanted.size(), wanted) == 0) return Match{begin, begin + wanted.size(), token};
    }
  }
  return std::nullopt;
}

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  const auto it = by_content_.find(token.content);
  if (it != by_content_.end()) {
    tokens_[it->second] = std::move(token);
    return;
  }
  by_content_[token.content] = tokens_.size();
  by_id_[token.id] = tokens_.size();
  tokens_.push_back(std::move(token));
}

void AddedTokens::prepare(const Normalizer& normalizer) {
  raw_ = {};
  normalized_ = {};
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].normalized) normalized_.add(normalizer(tokens_[i].content), i);
    else raw_.add(tokens_[i].content, i);
  }
}

std::vector<AddedTokens::Piece> AddedTokens::cut(const std::string& text, const Matcher& matcher, bool skip_special) const {
  std::vector<Piece> pieces;
  std::size_t covered = 0, from = 0;
  while (const auto match = matcher.find(text, from)) {
    const AddedToken& token = tokens_[match->token];
    from = match->end;  // a match that is dropped below still hides others that overlap it, as in the reference
    if (skip_special && token.special) continue;
    if (token.single_word && word_touches(text, match->begin, match->end)) continue;
    std::size_t begin = match->begin, end = match->end;
    while (token.lstrip && begin > covered) {
      const std::size_t before = unicode::previous(text, begin);
      std::size_t at = before;
      if (!unicode::is_whitespace(unicode::next(text, at))) break;
      begin = before;
    }
    while (token.rstrip && end < text.size()) {
      std::size_t after = end;
      if (!unicode::is_whitespace(unicode::next(text, after))) break;
      end = after;
    }
    if (begin > covered) pieces.push_back({text.substr(covered, begin - covered), std::nullopt});
    pieces.push_back({token.content, token.id});
    covered = end;
  }
  if (covered < text.size()) pieces.push_back({text.substr(covered), std::nullopt});
  return pieces;
}

std::vector<AddedTokens::Piece> AddedTokens::extract(const std::string& text, const Normalizer& normalizer, bool skip_special) const {
  std::vector<Piece> pieces;
  for (auto& raw : cut(text, raw_, skip_special)) {
    if (raw.id) {
      pieces.push_back(std::move(raw));
      continue;
    }
    for (auto& piece : cut(normalizer(raw.text), normalized_, skip_special)) pieces.push_back(std::move(piece));
  }
  return pieces;
}

const AddedToken* AddedTokens::find(const std::string& content) const {
  const auto it = by_content_.find(content);
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::int64_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

}  // namespace magicid::models::text
