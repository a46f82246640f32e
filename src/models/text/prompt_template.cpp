#include "models/text/prompt_template.h"

#include "base/errors.h"
#include "base/text.h"
#include "models/text/json_fields.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

struct Parts {
  std::string head, tail;
};

Parts parse(const std::string& text) {
  Parts parts;
  std::string* current = &parts.head;
  bool found = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c != '{' && c != '}') {
      *current += c;
    } else if (at + 1 < text.size() && text[at + 1] == c) {
      *current += c;
      ++at;
    } else if (c == '{' && at + 1 < text.size() && text[at + 1] == '}' && !found) {
      found = true;
      current = &parts.tail;
      ++at;
    } else {
      throw base::UserError("the prompt template has a ", c, " at byte ", at,
                            " that is no field; expected exactly one {}, and {{ or }} for braces in the text");
    }
  }
  if (!found) throw base::UserError("the prompt template has no {} for the prompt");
  return parts;
}

}  // namespace

PromptTemplate PromptTemplate::hunyuan_video() {
  return {
      "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
      "1. The main content and theme of the video."
      "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
      "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
      "4. background environment, light, style and atmosphere."
      "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
      95};
}

PromptTemplate PromptTemplate::load(const std::filesystem::path& file) {
  const std::string where = file.string();
  // Written by a person, as prompts are, and not by the model's maker, as the tokenisers' files.
  const nlohmann::json json = nlohmann::json::parse(base::decode_written_file(storage::read_text(file), where), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw base::UserError(where, ": is not valid JSON; {\"template\": \"...{}...\", \"crop_start\": N} was expected");
  PromptTemplate out;
  out.text = base::compose(require_string(json, "template", where));
  if (!json.contains("crop_start") || json["crop_start"].is_null()) {
    throw base::UserError(
        where,
        ": \"crop_start\" is missing. Write the number of tokens that stand in front of the prompt, the beginning-of-text token included (`magicid tokenize` "
        "on the template's first part prints them); 0 keeps all.");
  }
  out.crop_start = require_integer(json, "crop_start", where);
  if (out.crop_start < 0) throw base::UserError(where, ": \"crop_start\" is ", out.crop_start, "; expected 0 or more");
  try {
    parse(out.text);
  } catch (const base::UserError& error) {
    throw base::UserError(where, ": ", error.what());
  }
  return out;
}

std::string PromptTemplate::render(const std::string& prompt) const {
  const Parts parts = parse(text);
  return parts.head + prompt + parts.tail;
}

std::string PromptTemplate::head() const { return parse(text).head; }
std::string PromptTemplate::tail() const { return parse(text).tail; }

}  // namespace magicid::models::text
