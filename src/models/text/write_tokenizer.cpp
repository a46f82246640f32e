#include "models/text/write_tokenizer.h"

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/errors.h"
#include "models/text/bpe.h"
#include "models/text/byte_alphabet.h"
#include "models/text/pre_tokenizer.h"
#include "models/text/prompt_template.h"
#include "models/text/unicode.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kLlama3Pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kClipPattern = R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

// A vocabulary that gives ids in the order of first mention.
class Vocabulary {
 public:
  bool add(const std::string& token) {
    if (!known_.insert(token).second) return false;
    entries_.push_back(token);
    return true;
  }
  Json json() const {
    Json out = Json::object();
    for (std::size_t id = 0; id < entries_.size(); ++id) out[entries_[id]] = id;
    return out;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }

 private:
  std::vector<std::string> entries_;
  std::set<std::string> known_;
};

Json special_token(std::int64_t id, const std::string& content) {
  return {{"id", id}, {"content", content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json split(const char* pattern, const char* behavior, bool invert) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", invert}};
}

void write(const std::filesystem::path& folder, const char* name, const Json& json) { storage::write_text_atomically(folder / name, json.dump(2) + "\n"); }

// What the template holds outside its special tokens and its place for the prompt.
std::vector<std::string> plain_parts_of_template() {
  const std::string text = PromptTemplate::hunyuan_video().text;
  std::vector<std::string> parts(1);
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, 2, "<|") == 0) {
      at = text.find("|>", at) + 2;
      parts.emplace_back();
    } else if (text.compare(at, 2, "{}") == 0) {
      at += 2;
      parts.emplace_back();
    } else {
      parts.back() += text[at++];
    }
  }
  return parts;
}

// Appends merges that join `piece` to one token, and the tokens on the way there. The piece is cut by the merges so far, and new ones join its parts: lower
// ranks always come first, so no later piece breaks an earlier one.
void add_merged(const std::string& piece, const Bpe::Options& options, Vocabulary& vocabulary, Bpe::Merges& merges) {
  const Bpe bpe(nlohmann::json(vocabulary.json()).get<Bpe::Vocabulary>(), merges, options, "the tokeniser to be written");
  std::vector<std::int64_t> ids;
  bpe.encode(piece, ids);
  std::string built = *bpe.token(ids.front());
  for (std::size_t i = 1; i < ids.size(); ++i) {
    const std::string& part = *bpe.token(ids[i]);
    merges.emplace_back(built, part);
    built += part;
    vocabulary.add(built);
  }
}

Json merge_pairs(const Bpe::Merges& merges) {
  Json pairs = Json::array();
  for (const auto& [left, right] : merges) pairs.push_back(Json::array({left, right}));
  return pairs;
}

}  // namespace

std::int64_t write_byte_level_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& extra_words) {
  Vocabulary vocabulary;
  for (const auto& symbol : byte_alphabet()) vocabulary.add(symbol);
  const Json pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", {split(kLlama3Pattern, "Isolated", false), byte_level(false, false)}}};
  const PreTokenizer cut = PreTokenizer::from_json(nlohmann::json(pre_tokenizer), "the tokeniser to be written");
  for (const auto& part : plain_parts_of_template()) {
    for (const auto& word : cut(part)) vocabulary.add(word);
  }
  for (const auto& word : extra_words) {
    for (const auto& piece : cut(word)) vocabulary.add(piece);
    for (const auto& piece : cut(" " + word)) vocabulary.add(piece);
  }
  const std::int64_t first_special = vocabulary.size();
  const std::vector<std::string> specials = {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<pad>"};
  Json added = Json::array();
  for (std::size_t i = 0; i < specials.size(); ++i) added.push_back(special_token(first_special + static_cast<std::int64_t>(i), specials[i]));

  const Json bos = {{"SpecialToken", {{"id", specials[0]}, {"type_id", 0}}}};
  const auto sequence = [](const char* name, int type) { return Json{{"Sequence", {{"id", name}, {"type_id", type}}}}; };
  const Json bos_again = {{"SpecialToken", {{"id", specials[0]}, {"type_id", 1}}}};
  const Json post = {{"type", "TemplateProcessing"},
                     {"single", Json::array({bos, sequence("A", 0)})},
                     {"pair", Json::array({bos, sequence("A", 0), bos_again, sequence("B", 1)})},
                     {"special_tokens", {{specials[0], {{"id", specials[0]}, {"ids", Json::array({first_special})}, {"tokens", Json::array({specials[0]})}}}}}};
  std::filesystem::create_directories(folder);
  write(folder, "tokenizer.json",
        {{"version", "1.0"},
         {"truncation", nullptr},
         {"padding", nullptr},
         {"added_tokens", added},
         {"normalizer", nullptr},
         {"pre_tokenizer", pre_tokenizer},
         {"post_processor", post},
         {"decoder", byte_level(true, true)},
         {"model",
          {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", nullptr},
           {"continuing_subword_prefix", nullptr},
           {"end_of_word_suffix", nullptr},
           {"fuse_unk", false},
           {"byte_fallback", false},
           {"ignore_merges", true},
           {"vocab", vocabulary.json()},
           {"merges", Json::array()}}}});
  const Json named = {{"bos_token", specials[0]}, {"eos_token", specials[1]}, {"pad_token", specials[5]}};
  write(folder, "special_tokens_map.json", named);
  Json config = named;
  config["clean_up_tokenization_spaces"] = false;
  config["model_max_length"] = 8192;
  config["padding_side"] = "right";
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  write(folder, "tokenizer_config.json", config);
  return first_special + static_cast<std::int64_t>(specials.size());
}

std::int64_t write_clip_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& words) {
  Vocabulary vocabulary;
  for (const auto& symbol : byte_alphabet()) vocabulary.add(symbol);
  for (const auto& symbol : byte_alphabet()) vocabulary.add(symbol + "</w>");
  Bpe::Merges merges;
  const PreTokenizer cut = PreTokenizer::clip();
  Bpe::Options options;
  options.end_of_word_suffix = "</w>";
  for (const auto& word : words)
    for (const auto& piece : cut(unicode::lowercase(word))) add_merged(piece, options, vocabulary, merges);
  const std::int64_t start = vocabulary.size(), end = start + 1;
  vocabulary.add("<|startoftext|>");
  vocabulary.add("<|endoftext|>");

  std::ostringstream lines;
  lines << "#version: 0.2\n";
  for (const auto& [left, right] : merges) lines << left << ' ' << right << '\n';
  std::filesystem::create_directories(folder);
  write(folder, "tokenizer.json",
        {{"version", "1.0"},
         {"truncation", nullptr},
         {"padding", nullptr},
         {"added_tokens", Json::array({special_token(start, "<|startoftext|>"), special_token(end, "<|endoftext|>")})},
         {"normalizer",
          {{"type", "Sequence"},
           {"normalizers",
            Json::array({Json{{"type", "NFC"}}, Json{{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}}, Json{{"type", "Lowercase"}}})}}},
         {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split(kClipPattern, "Removed", true), byte_level(false, true)})}}},
         {"post_processor",
          {{"type", "RobertaProcessing"},
           {"sep", Json::array({"<|endoftext|>", end})},
           {"cls", Json::array({"<|startoftext|>", start})},
           {"trim_offsets", false},
           {"add_prefix_space", false}}},
         {"decoder", byte_level(true, true)},
         {"model",
          {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", "<|endoftext|>"},
           {"continuing_subword_prefix", ""},
           {"end_of_word_suffix", "</w>"},
           {"fuse_unk", false},
           {"byte_fallback", false},
           {"ignore_merges", false},
           {"vocab", vocabulary.json()},
           {"merges", merge_pairs(merges)}}}});
  storage::write_text_atomically(folder / "vocab.json", vocabulary.json().dump() + "\n");
  storage::write_text_atomically(folder / "merges.txt", lines.str());
  const Json named = {{"bos_token", "<|startoftext|>"}, {"eos_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}};
  write(folder, "special_tokens_map.json", named);
  Json config = named;
  config["clean_up_tokenization_spaces"] = false;
  config["do_lower_case"] = true;
  config["model_max_length"] = 77;
  config["tokenizer_class"] = "CLIPTokenizer";
  write(folder, "tokenizer_config.json", config);
  return vocabulary.size();
}

std::int64_t write_qwen_tokenizer(const std::filesystem::path& folder, const std::vector<std::string>& words) {
  Vocabulary vocabulary;
  for (const auto& symbol : byte_alphabet()) vocabulary.add(symbol);
  const Json pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", {split(kQwen2Pattern, "Isolated", false), byte_level(false, false)}}};
  const PreTokenizer cut = PreTokenizer::from_json(nlohmann::json(pre_tokenizer), "the tokeniser to be written");
  Bpe::Merges merges;
  for (const auto& word : words)
    for (const auto& text : {word, " " + word})
      for (const auto& piece : cut(text)) add_merged(piece, {}, vocabulary, merges);
  const std::vector<std::string> specials = {"<|endoftext|>",  "<|im_start|>",   "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
                                             "<|box_start|>",  "<|box_end|>",    "<|quad_start|>", "<|quad_end|>",         "<|vision_start|>",
                                             "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",  "<|video_pad|>"};
  const std::int64_t first_special = vocabulary.size();
  Json added = Json::array();
  for (std::size_t i = 0; i < specials.size(); ++i) added.push_back(special_token(first_special + static_cast<std::int64_t>(i), specials[i]));
  std::filesystem::create_directories(folder);
  write(folder, "tokenizer.json",
        {{"version", "1.0"},
         {"truncation", nullptr},
         {"padding", nullptr},
         {"added_tokens", added},
         {"normalizer", {{"type", "NFC"}}},
         {"pre_tokenizer", pre_tokenizer},
         {"post_processor", nullptr},
         {"decoder", byte_level(true, true)},
         {"model",
          {{"type", "BPE"},
           {"dropout", nullptr},
           {"unk_token", nullptr},
           {"continuing_subword_prefix", ""},
           {"end_of_word_suffix", ""},
           {"fuse_unk", false},
           {"byte_fallback", false},
           {"ignore_merges", false},
           {"vocab", vocabulary.json()},
           {"merges", merge_pairs(merges)}}}});
  write(folder, "tokenizer_config.json",
        {{"add_prefix_space", false},
         {"eos_token", "<|im_end|>"},
         {"pad_token", "<|endoftext|>"},
         {"unk_token", nullptr},
         {"bos_token", nullptr},
         {"additional_special_tokens", specials},
         {"model_max_length", 131072},
         {"clean_up_tokenization_spaces", false},
         {"tokenizer_class", "Qwen2Tokenizer"}});
  return first_special + static_cast<std::int64_t>(specials.size());
}

const std::vector<std::string>& common_prompt_words() {
  static const std::vector<std::string> words = {
      "a",       "an",     "the",    "of",     "in",    "on",     "at",     "to",     "and",     "with",    "is",     "are",    "his",   "her",
      "their",   "person", "man",    "woman",  "child", "people", "face",   "head",   "hand",    "hair",    "eyes",   "smiles", "looks", "walks",
      "walking", "runs",   "turns",  "talks",  "waves", "sits",   "stands", "dances", "video",   "photo",   "camera", "close",  "shot",  "slow",
      "motion",  "light",  "lights", "street", "beach", "forest", "city",   "room",   "night",   "day",     "sunset", "red",    "blue",  "green",
      "white",   "black",  "yellow", "small",  "large", "left",   "right",  "moving", "wearing", "through", "from",   "while",  "moves", "background"};
  return words;
}

}  // namespace magicid::models::text
