#include "models/qwen2_5_vl/chat_prompt.h"

#include <array>

#include "base/errors.h"
#include "base/hash.h"
#include "models/text/json_fields.h"
#include "storage/atomic_file.h"
#include "storage/files.h"

namespace magicid::models::qwen2_5_vl {
namespace {

constexpr const char* head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n";
constexpr const char* video_place = "<|vision_start|><|video_pad|><|vision_end|>";
constexpr const char* tail = "<|im_end|>\n<|im_start|>assistant\n";
constexpr const char* video_token = "<|video_pad|>";

// xxh128 of the published template's text, without white space around it.
constexpr const char* published_template = "e83000dd638f8c39d63c0ab8ac046a45";

struct ChatTemplate {
  std::filesystem::path file;
  std::string text;
};

std::optional<ChatTemplate> find_chat_template(const std::filesystem::path& folder) {
  if (const auto file = folder / "chat_template.jinja"; storage::exists(file)) return ChatTemplate{file, storage::read_text(file)};
  // The processor's own file counts before the tokeniser's, which may know no pictures.
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const auto json = text::read_json_if_there(folder / name);
    if (!json || !json->is_object() || !json->contains("chat_template") || json->at("chat_template").is_null()) continue;
    const std::string where = (folder / name).string();
    if (!json->at("chat_template").is_array()) return ChatTemplate{folder / name, text::require_string(*json, "chat_template", where)};
    for (const auto& named : json->at("chat_template"))  // several with names, of which "default" is taken
      if (text::require_string(named, "name", where + ": chat_template") == "default")
        return ChatTemplate{folder / name, text::require_string(named, "template", where + ": chat_template")};
  }
  return std::nullopt;
}

std::string trimmed(const std::string& text) {
  const char* white = " \t\r\n";
  const auto first = text.find_first_not_of(white);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(white) + 1 - first);
}

// Templates write a line end as such, or as \n within a quoted text.
std::string with_line_ends(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos; ++at) text.replace(at, 2, "\n");
  return text;
}

}  // namespace

std::string render_chat(const std::string& text) { return base::concat(head, video_place, text, tail); }

std::vector<std::int64_t> chat_ids(const text::Tokenizer& tokenizer, const QwenVlConfig& config, const std::string& text, std::int64_t video_tokens) {
  if (const auto id = tokenizer.id(video_token); id != config.video_token_id)
    throw base::UserError("config.json says that the video's token is ", config.video_token_id, ", and in the tokeniser ", video_token, " is ",
                          id ? std::to_string(*id) : "no token", ": the two are of different models");
  const std::string chat = render_chat(text);
  const std::vector<std::int64_t> ids = tokenizer.encode(chat);
  std::vector<std::int64_t> filled;
  std::int64_t places = 0;
  for (const std::int64_t id : ids) {
    if (id == config.image_token_id) ++places;
    if (id == config.video_token_id && ++places == 1) filled.insert(filled.end(), static_cast<std::size_t>(video_tokens), id);
    else filled.push_back(id);
  }
  if (places != 1)
    throw base::UserError("the text \"", text, "\" holds a token that stands for a picture or a video (", video_token,
                          " or <|image_pad|>): the model would look for another one there. Take it out of the prompt.");
  return filled;
}

std::optional<std::string> check_chat_template(const std::filesystem::path& folder) {
  const auto found = find_chat_template(folder);
  if (!found || base::hash_hex(trimmed(found->text)) == published_template) return std::nullopt;
  const std::string text = with_line_ends(found->text);
  for (const char* piece : {"<|im_start|>", "You are a helpful assistant.", "<|im_end|>", video_place, "<|im_start|>assistant\n"})
    if (text.find(piece) == std::string::npos)
      throw base::UserError(
          found->file.string(), ": the chat template does not hold \"", piece,
          "\", which the published models of Qwen2.5-VL have; this program writes questions in their way and would ask this model in words that it does "
          "not know. Is it another model, or a fine-tuned one with a template of its own?");
  return base::concat(found->file.string(),
                      ": the chat template is not the one of the published models of Qwen2.5-VL; questions are written in the published way, and the model may "
                      "expect another");
}

}  // namespace magicid::models::qwen2_5_vl
