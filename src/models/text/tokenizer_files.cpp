#include "models/text/tokenizer_files.h"

#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include "base/errors.h"
#include "models/text/json_fields.h"
#include "models/text/unicode.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

constexpr std::array kNamedTokens = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

class FolderReader {
 public:
  explicit FolderReader(const std::filesystem::path& folder) : folder_(folder) {}

  TokenizerParts run() {
    if (!std::filesystem::is_directory(folder_)) throw base::UserError("tokeniser folder ", folder_.string(), " does not exist");
    config_ = read_json_if_there(folder_ / "tokenizer_config.json").value_or(nlohmann::json::object());
    special_map_ = read_json_if_there(folder_ / "special_tokens_map.json").value_or(nlohmann::json::object());
    const std::string type = string_or(config_, "tokenizer_class", "", config_where());
    clip_ = type.starts_with("CLIPTokenizer");
    if (std::filesystem::exists(folder_ / "tokenizer.json")) {
      read_tokenizer_json();
    } else if (std::filesystem::exists(folder_ / "vocab.json") && std::filesystem::exists(folder_ / "merges.txt")) {
      if (!clip_ && !type.empty()) {
        throw base::UserError(folder_.string(), ": vocab.json + merges.txt are read for CLIP's tokeniser only, and tokenizer_config.json names ", type,
                              ". Save the tokeniser again as tokenizer.json (transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)).");
      }
      read_clip_files();
    } else {
      throw base::UserError(folder_.string(),
                            ": no tokenizer.json, and no vocab.json with merges.txt. Save the tokeniser with transformers' save_pretrained; "
                            "SentencePiece's tokenizer.model is not supported.");
    }
    read_settings();
    add_configured_tokens();
    override_post_processor();
    parts_.added.prepare(parts_.normalizer);
    return std::move(parts_);
  }

 private:
  std::string config_where() const { return (folder_ / "tokenizer_config.json").string(); }

  void read_tokenizer_json() {
    const auto path = folder_ / "tokenizer.json";
    const std::string where = path.string();
    const nlohmann::json json = read_json(path);
    const auto part = [&](const char* key) { return json.is_object() && json.contains(key) ? json.at(key) : nlohmann::json(); };
    parts_.bpe = Bpe::from_json(require(json, "model", where), where + ": model");
    parts_.normalizer = Normalizer::from_json(part("normalizer"), where + ": normalizer");
    parts_.pre_tokenizer = PreTokenizer::from_json(part("pre_tokenizer"), where + ": pre_tokenizer");
    parts_.post_processor = PostProcessor::from_json(part("post_processor"), where + ": post_processor");
    parts_.decoder = TokenDecoder::from_json(part("decoder"), where + ": decoder");
    padding_ = part("padding");
    if (json.contains("added_tokens")) {
      for (const auto& entry : require_array(json, "added_tokens", where)) {
        const std::string at = where + ": added_tokens";
        add(AddedToken::from_json(entry, at), require_integer(entry, "id", at), at);
      }
    }
  }

  void read_clip_files() {
    clip_ = true;
    const auto vocabulary_path = folder_ / "vocab.json";
    nlohmann::json model = {{"type", "BPE"}, {"vocab", read_json(vocabulary_path)}, {"merges", nlohmann::json::array()}, {"end_of_word_suffix", "</w>"}};
    model["unk_token"] = token_text(named_token("unk_token")).value_or("<|endoftext|>");
    std::istringstream lines(storage::read_text(folder_ / "merges.txt"));
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty()) model["merges"].push_back(line);
    }
    parts_.bpe = Bpe::from_json(model, vocabulary_path.string() + " and merges.txt");
    parts_.normalizer = Normalizer::clip();
    parts_.pre_tokenizer = PreTokenizer::clip();
    parts_.decoder = TokenDecoder::from_json({{"type", "ByteLevel"}}, "CLIP's decoder");
    if (const auto legacy = read_json_if_there(folder_ / "added_tokens.json")) {
      const std::string where = (folder_ / "added_tokens.json").string();
      std::map<std::int64_t, std::string> by_id;
      for (const auto& [content, id] : legacy->items()) by_id[require_integer(*legacy, content.c_str(), where)] = content;
      for (const auto& [id, content] : by_id) {
        AddedToken token;
        token.content = content;
        token.normalized = true;
        add(token, id, where);
      }
    }
    clip_files_ = true;
  }

  // The entry of tokenizer_config.json, else of special_tokens_map.json; CLIP's class has defaults.
  nlohmann::json named_token(const char* key) const {
    for (const auto* source : {&config_, &special_map_}) {
      if (source->is_object() && source->contains(key)) return source->at(key);
    }
    const std::string name = key;
    if (clip_ && name == "bos_token") return "<|startoftext|>";
    if (clip_ && (name == "eos_token" || name == "unk_token" || name == "pad_token")) return "<|endoftext|>";
    return nullptr;
  }

  std::optional<std::string> token_text(const nlohmann::json& entry) const {
    if (entry.is_string()) return entry.get<std::string>();
    if (entry.is_object()) return require_string(entry, "content", config_where());
    return std::nullopt;
  }

  void read_settings() {
    auto& s = parts_.settings;
    s.bos_token = token_text(named_token("bos_token"));
    s.eos_token = token_text(named_token("eos_token"));
    s.unk_token = token_text(named_token("unk_token"));
    s.pad_token = token_text(named_token("pad_token"));
    const double limit = number_or(config_, "model_max_length", number_or(config_, "max_len", 1e30, config_where()), config_where());
    if (limit < 1e15) s.model_max_length = static_cast<std::int64_t>(limit);
    if (!s.pad_token && padding_.is_object()) s.pad_token = string_or(padding_, "pad_token", "", "tokenizer.json: padding");
    const std::string baked_side = padding_.is_object() && string_or(padding_, "direction", "Right", "tokenizer.json: padding") == "Left" ? "left" : "right";
    s.pad_left = side("padding_side", baked_side);
    s.truncate_left = side("truncation_side", "right");
    parts_.split_special_tokens = bool_or(config_, "split_special_tokens", false, config_where());
  }

  bool side(const char* key, const std::string& fallback) const {
    const std::string value = string_or(config_, key, fallback, config_where());
    if (value != "left" && value != "right") throw base::UserError(config_where(), ": \"", key, "\" is \"", value, "\"; expected left or right");
    return value == "left";
  }

  std::int64_t next_id() const {
    std::int64_t next = parts_.bpe.size();
    for (const auto& token : parts_.added.tokens()) next = std::max(next, token.id + 1);
    return next;
  }

  // `listed_id` < 0: the file gives none.
  void add(AddedToken token, std::int64_t listed_id, const std::string& where) {
    if (token.content.empty()) return;
    const auto* known = parts_.added.find(token.content);
    token.id = known != nullptr ? known->id : parts_.bpe.id(token.content).value_or(next_id());
    if (listed_id >= 0 && listed_id != token.id) {
      throw base::UserError(where, ": the token \"", token.content, "\" is listed with id ", listed_id, " but gets id ", token.id,
                            " (from the vocabulary, or the next free one), so the embedding table would not fit. Repair the file.");
    }
    parts_.added.add(std::move(token));
  }

  // Tokens of the configuration files that tokenizer.json does not have, or has with other properties.
  void add_configured_tokens() {
    const std::string where = config_where();
    if (config_.contains("added_tokens_decoder") && config_["added_tokens_decoder"].is_object()) {
      std::map<std::int64_t, AddedToken> by_id;
      for (const auto& [key, entry] : config_["added_tokens_decoder"].items()) {
        try {
          by_id[std::stoll(key)] = AddedToken::from_json(entry, where + ": added_tokens_decoder");
        } catch (const std::logic_error&) {
          throw base::UserError(where, ": added_tokens_decoder has the key \"", key, "\"; expected an id");
        }
      }
      for (const auto& [id, token] : by_id) add(token, id, where + ": added_tokens_decoder");
    }
    const auto add_special = [&](const nlohmann::json& entry) {
      const auto content = token_text(entry);
      if (!content || content->empty() || parts_.added.find(*content) != nullptr) return;
      AddedToken token;
      token.content = *content;
      if (entry.is_object()) token = AddedToken::from_json(entry, where);
      token.special = true;
      add(token, -1, where);
    };
    for (const char* key : kNamedTokens) add_special(named_token(key));
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const nlohmann::json entries = named_token(key);
      if (!entries.is_array() && !entries.is_object()) continue;
      for (const auto& entry : entries) add_special(entry);
    }
  }

  void override_post_processor() {
    const std::string where = config_where();
    const auto id_of = [&](const std::optional<std::string>& token, const char* key) {
      const auto* added = token ? parts_.added.find(*token) : nullptr;
      if (added == nullptr) throw base::UserError(where, ": \"", key, "\" is missing, and the tokeniser needs it");
      return added->id;
    };
    const auto& s = parts_.settings;
    if (clip_files_) {
      parts_.post_processor = PostProcessor::surround({id_of(s.bos_token, "bos_token")}, {id_of(s.eos_token, "eos_token")});
      return;
    }
    // transformers builds the processor anew when these keys are there, and for CLIP always keeps its own.
    const auto given = [&](const char* key) { return config_.contains(key) && !config_[key].is_null(); };
    if (clip_ || !(given("add_bos_token") || given("add_eos_token"))) return;
    std::vector<std::int64_t> before, after;
    if (bool_or(config_, "add_bos_token", false, where) && s.bos_token) before = {id_of(s.bos_token, "bos_token")};
    if (bool_or(config_, "add_eos_token", false, where) && s.eos_token) after = {id_of(s.eos_token, "eos_token")};
    parts_.post_processor = PostProcessor::surround(before, after);
  }

  std::filesystem::path folder_;
  nlohmann::json config_, special_map_, padding_;
  bool clip_ = false, clip_files_ = false;
  TokenizerParts parts_;
};

}  // namespace

TokenizerParts read_tokenizer_folder(const std::filesystem::path& folder) { return FolderReader(folder).run(); }

}  // namespace magicid::models::text
