#include "models/text/tokenizer.h"

#include <algorithm>

#include "base/errors.h"
#include "base/text.h"
#include "models/text/tokenizer_files.h"
#include "models/text/unicode.h"

namespace magicid::models::text {

struct Tokenizer::Contents : TokenizerParts {
  std::filesystem::path folder;

  std::vector<std::int64_t> encode_plain(const std::string& text) const {
    const auto invalid = base::find_invalid_utf8(text);
    if (invalid != std::string_view::npos)
      throw base::UserError("the text is not valid UTF-8 at byte ", invalid, "; save the file or set the terminal to UTF-8");
    std::vector<std::int64_t> ids;
    for (const auto& piece : added.extract(text, normalizer, split_special_tokens)) {
      if (piece.id) {
        ids.push_back(*piece.id);
        continue;
      }
      for (const auto& word : pre_tokenizer(piece.text)) bpe.encode(word, ids);
    }
    return ids;
  }
};

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  auto contents = std::make_shared<Contents>();
  static_cast<TokenizerParts&>(*contents) = read_tokenizer_folder(folder);
  contents->folder = folder;
  Tokenizer tokenizer;
  tokenizer.contents_ = std::move(contents);
  return tokenizer;
}

std::vector<std::int64_t> Tokenizer::encode(const std::string& text, bool add_special_tokens) const {
  auto ids = contents_->encode_plain(text);
  return add_special_tokens ? contents_->post_processor(ids) : ids;
}

PaddedTokens Tokenizer::encode_padded(const std::string& text, std::int64_t max_length) const {
  const auto pad = pad_id();
  if (!pad) throw base::UserError(contents_->folder.string(), ": the tokeniser has no pad token; name one as \"pad_token\" in tokenizer_config.json");
  const std::int64_t room = max_length - contents_->post_processor.added_tokens();
  if (room < 0)
    throw base::UserError("a maximum of ", max_length, " tokens leaves no room for the ", contents_->post_processor.added_tokens(),
                          " special tokens; raise it");

  PaddedTokens out;
  auto ids = contents_->encode_plain(text);
  const auto size = static_cast<std::int64_t>(ids.size());
  if (size > room) {
    const auto& s = contents_->settings;
    const auto kept_begin = s.truncate_left ? ids.end() - room : ids.begin();
    out.cut_ids = s.truncate_left ? std::vector(ids.begin(), kept_begin) : std::vector(ids.begin() + room, ids.end());
    out.cut_text = decode(out.cut_ids, true);
    ids = std::vector(kept_begin, kept_begin + room);
  }
  out.ids = contents_->post_processor(ids);
  out.attention_mask.assign(out.ids.size(), 1);
  const auto missing = static_cast<std::size_t>(max_length) - out.ids.size();
  const auto pad_with = [&](std::vector<std::int64_t>& v, std::int64_t value) { v.insert(contents_->settings.pad_left ? v.begin() : v.end(), missing, value); };
  pad_with(out.ids, *pad);
  pad_with(out.attention_mask, 0);
  return out;
}

std::string Tokenizer::decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    if (const auto* added = contents_->added.find(id)) {
      if (!(skip_special_tokens && added->special)) tokens.push_back(added->normalized ? contents_->normalizer(added->content) : added->content);
    } else if (const auto* token = contents_->bpe.token(id)) {
      tokens.push_back(*token);
    }
  }
  std::string text = contents_->decoder(std::move(tokens));
  const std::string& suffix = contents_->bpe.options().end_of_word_suffix;
  if (suffix.empty()) return text;
  for (auto at = text.find(suffix); at != std::string::npos; at = text.find(suffix, at + 1)) text.replace(at, suffix.size(), " ");
  // Python's str.strip, which also takes the separators U+001C to U+001F.
  const auto is_space = [](char32_t c) { return unicode::is_whitespace(c) || (c >= 0x1C && c <= 0x1F); };
  std::size_t begin = 0, end = text.size();
  for (std::size_t at = 0; begin < end && is_space(unicode::next(text, at)); begin = at) {
  }
  while (end > begin) {
    const std::size_t before = unicode::previous(text, end);
    std::size_t at = before;
    if (!is_space(unicode::next(text, at))) break;
    end = before;
  }
  return text.substr(begin, end - begin);
}

std::optional<std::int64_t> Tokenizer::id(const std::string& token) const {
  if (const auto* added = contents_->added.find(token)) return added->id;
  return contents_->bpe.id(token);
}

std::int64_t Tokenizer::vocabulary_size() const {
  std::int64_t size = contents_->bpe.size();
  for (const auto& token : contents_->added.tokens()) size += contents_->bpe.id(token.content) ? 0 : 1;
  return size;
}

const TokenizerSettings& Tokenizer::settings() const { return contents_->settings; }

std::optional<std::int64_t> Tokenizer::pad_id() const { return contents_->settings.pad_token ? id(*contents_->settings.pad_token) : std::nullopt; }

}  // namespace magicid::models::text
