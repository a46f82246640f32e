#include "models/text/bpe.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <queue>

#include "base/errors.h"
#include "models/text/json_fields.h"
#include "models/text/unicode.h"

namespace magicid::models::text {

Bpe::Bpe(Vocabulary vocabulary, const Merges& merges, Options options, const std::string& where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  for (const auto& [token, id] : vocabulary_) {
    if (!tokens_.emplace(id, token).second) throw base::UserError(where, ": the tokens \"", token, "\" and \"", tokens_[id], "\" share the id ", id);
  }
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto left_id = id(left), right_id = id(right);
    const std::size_t prefix = options_.continuing_subword_prefix.size();
    const auto merged = right.size() >= prefix ? id(left + right.substr(prefix)) : std::nullopt;
    if (!left_id || !right_id || !merged) {
      throw base::UserError(where, ": merge ", rank + 1, " (\"", left, "\" + \"", right, "\"): ",
                            !left_id    ? left
                            : !right_id ? right
                                        : "their union",
                            " is not in the vocabulary");
    }
    merges_[{*left_id, *right_id}] = {static_cast<std::int64_t>(rank), *merged};
  }
}

Bpe Bpe::from_json(const nlohmann::json& json, const std::string& where) {
  // Old files leave the type out; only BPE has merges.
  const std::string type = string_or(json, "type", json.contains("merges") ? "BPE" : "(none)", where);
  if (type != "BPE") throw base::UserError(where, ": model \"", type, "\" is not supported; expected BPE");
  if (number_or(json, "dropout", 0, where) != 0) throw base::UserError(where, ": BPE dropout is for training and is not supported; set \"dropout\" to null");
  Options options;
  if (const auto unknown = string_or(json, "unk_token", "", where); !unknown.empty()) options.unknown_token = unknown;
  options.continuing_subword_prefix = string_or(json, "continuing_subword_prefix", "", where);
  options.end_of_word_suffix = string_or(json, "end_of_word_suffix", "", where);
  options.fuse_unknown = bool_or(json, "fuse_unk", false, where);
  options.byte_fallback = bool_or(json, "byte_fallback", false, where);
  options.ignore_merges = bool_or(json, "ignore_merges", false, where);

  const auto& entries = require(json, "vocab", where);
  if (!entries.is_object()) throw base::UserError(where, ": \"vocab\" must be an object of token: id");
  Vocabulary vocabulary;
  vocabulary.reserve(entries.size());
  for (const auto& [token, id] : entries.items()) {
    if (!id.is_number_integer()) throw base::UserError(where, ": the id of \"", token, "\" is ", id.dump(), "; expected an integer");
    vocabulary.emplace(token, id.get<std::int64_t>());
  }
  Merges merges;
  for (const auto& entry : require_array(json, "merges", where)) {
    if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
      merges.emplace_back(entry[0].get<std::string>(), entry[1].get<std::string>());
      continue;
    }
    const std::string line = entry.is_string() ? entry.get<std::string>() : "";
    if (line.starts_with("#version")) continue;
    const auto space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      throw base::UserError(where, ": merge ", merges.size() + 1, " is ", entry.dump(), R"(; expected "a b" or ["a", "b"])");
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return Bpe(std::move(vocabulary), merges, std::move(options), where);
}

std::optional<std::int64_t> Bpe::id(const std::string& token) const {
  const auto it = vocabulary_.find(token);
  return it == vocabulary_.end() ? std::nullopt : std::optional(it->second);
}

const std::string* Bpe::token(std::int64_t id) const {
  const auto it = tokens_.find(id);
  return it == tokens_.end() ? nullptr : &it->second;
}

std::vector<std::int64_t> Bpe::symbols(const std::string& word) const {
  std::vector<std::int64_t> out;
  bool unknown_pending = false;
  const auto flush_unknown = [&] {
    if (!unknown_pending) return;
    const auto unknown = id(*options_.unknown_token);
    if (!unknown)
      throw base::UserError("the tokeniser met a character outside its vocabulary in \"", word, "\", and its unk_token \"", *options_.unknown_token,
                            "\" is not in the vocabulary either");
    out.push_back(*unknown);
    unknown_pending = false;
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t begin = at;
    unicode::next(word, at);
    std::string symbol = word.substr(begin, at - begin);
    if (begin > 0) symbol = options_.continuing_subword_prefix + symbol;
    if (at == word.size()) symbol += options_.end_of_word_suffix;
    if (const auto known = id(symbol)) {
      flush_unknown();
      out.push_back(*known);
      continue;
    }
    if (options_.byte_fallback) {
      std::vector<std::int64_t> bytes;
      for (const char c : symbol) {
        char code[8];
        std::snprintf(code, sizeof(code), "<0x%02X>", static_cast<unsigned>(static_cast<unsigned char>(c)));
        const auto byte_id = id(code);
        if (!byte_id) break;
        bytes.push_back(*byte_id);
      }
      if (bytes.size() == symbol.size()) {
        out.insert(out.end(), bytes.begin(), bytes.end());
        continue;
      }
    }
    if (!options_.unknown_token) continue;
    if (!options_.fuse_unknown) flush_unknown();
    unknown_pending = true;
  }
  flush_unknown();
  return out;
}

void Bpe::encode(const std::string& word, std::vector<std::int64_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto whole = id(word)) {
      ids.push_back(*whole);
      return;
    }
  }
  // A doubly linked list of symbols and a queue of possible merges: lowest rank first, then leftmost. Entries that no longer describe
  // two neighbours are dropped when they come up.
  struct Symbol {
    std::int64_t id;
    int previous, next;
    bool alive = true;
  };
  struct Candidate {
    std::int64_t rank;
    int position;
    std::int64_t id;
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : position > other.position; }
  };
  const auto initial = symbols(word);
  std::vector<Symbol> list(initial.size());
  const int count = static_cast<int>(initial.size());
  for (int i = 0; i < count; ++i) list[i] = {initial[i], i - 1, i + 1 < count ? i + 1 : -1};
  std::priority_queue<Candidate> queue;
  const auto offer = [&](int position) {
    if (position < 0 || list[position].next < 0) return;
    const auto it = merges_.find({list[position].id, list[list[position].next].id});
    if (it != merges_.end()) queue.push({it->second.rank, position, it->second.id});
  };
  for (int i = 0; i < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = list[top.position];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = list[left.next];
    const auto it = merges_.find({left.id, right.id});
    if (it == merges_.end() || it->second.id != top.id) continue;
    left.id = top.id;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) list[left.next].previous = top.position;
    offer(left.previous);
    offer(top.position);
  }
  for (const Symbol& symbol : list) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

}  // namespace magicid::models::text
