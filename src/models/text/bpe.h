// Byte-pair encoding of one word: the `model` of a tokenizer.json.
// Source: Sennrich et al. 2016 (arXiv:1508.07909); tokenizers/src/models/bpe/ of github.com/huggingface/tokenizers.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace magicid::models::text {

class Bpe {
 public:
  struct Options {
    std::optional<std::string> unknown_token;
    std::string continuing_subword_prefix, end_of_word_suffix;
    bool fuse_unknown = false;
    bool byte_fallback = false;  // an unknown character becomes its bytes' tokens <0x..> where all of them exist
    bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  };
  using Vocabulary = std::unordered_map<std::string, std::int64_t>;
  using Merges = std::vector<std::pair<std::string, std::string>>;

  Bpe() = default;
  // Throws UserError naming the merge whose parts or result are not in the vocabulary.
  Bpe(Vocabulary vocabulary, const Merges& merges, Options options, const std::string& where);
  // The `model` object; merges as "a b" or ["a", "b"]. Throws UserError for other models and for dropout.
  static Bpe from_json(const nlohmann::json& json, const std::string& where);

  // Appends the ids of `word` (valid UTF-8, not empty). A character outside the vocabulary without unknown token is left out, as in
  // the reference.
  void encode(const std::string& word, std::vector<std::int64_t>& ids) const;

  std::optional<std::int64_t> id(const std::string& token) const;
  const std::string* token(std::int64_t id) const;  // null when there is none
  std::int64_t size() const { return static_cast<std::int64_t>(vocabulary_.size()); }
  const Options& options() const { return options_; }

 private:
  struct Merge {
    std::int64_t rank, id;
  };
  struct PairHash {
    std::size_t operator()(const std::pair<std::int64_t, std::int64_t>& p) const {
      return std::hash<std::uint64_t>()(static_cast<std::uint64_t>(p.first) * 0x9E3779B97F4A7C15ull ^ static_cast<std::uint64_t>(p.second));
    }
  };
  std::vector<std::int64_t> symbols(const std::string& word) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::int64_t, std::string> tokens_;
  std::unordered_map<std::pair<std::int64_t, std::int64_t>, Merge, PairHash> merges_;
  Options options_;
};

}  // namespace magicid::models::text
