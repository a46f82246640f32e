// Tokens that are looked for in the text itself, before BPE: special tokens and others.
// Source: tokenizers/src/tokenizer/added_vocabulary.rs of github.com/huggingface/tokenizers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/text/normalizer.h"

namespace magicid::models::text {

struct AddedToken {
  std::int64_t id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space on its left
  bool rstrip = false;       // takes the white space on its right
  bool normalized = false;   // looked for in the normalised text

  // {"content": ..., "special": ..., ...}; a missing `normalized` means "unless special". The id is not read here.
  static AddedToken from_json(const nlohmann::json& json, const std::string& where);
  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  // Replaces a token of the same content.
  void add(AddedToken token);
  // Must be called after the last add().
  void prepare(const Normalizer& normalizer);

  struct Piece {
    std::string text;
    std::optional<std::int64_t> id;  // set for an added token
  };
  // Cuts raw text into added tokens and normalised text. `skip_special` leaves special tokens to BPE.
  std::vector<Piece> extract(const std::string& text, const Normalizer& normalizer, bool skip_special) const;

  const AddedToken* find(const std::string& content) const;
  const AddedToken* find(std::int64_t id) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Match {
    std::size_t begin, end, token;  // bytes; index into tokens_
  };
  // Finds the leftmost, then longest token at or behind a byte.
  class Matcher {
   public:
    void add(std::string text, std::size_t token);
    std::optional<Match> find(std::string_view text, std::size_t from) const;

   private:
    std::vector<std::pair<std::string, std::size_t>> by_first_byte_[256];  // longest first
  };
  std::vector<Piece> cut(const std::string& text, const Matcher& matcher, bool skip_special) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::unordered_map<std::int64_t, std::size_t> by_id_;
  Matcher raw_, normalized_;
};

}  // namespace magicid::models::text
