// A question about a video as Qwen2.5-VL reads it: one turn of the user, with the video in front of the text.
// Source: chat_template.json of Qwen/Qwen2.5-VL-3B-Instruct, and Qwen2_5_VLProcessor of transformers (5.24).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/qwen2_5_vl/config.h"
#include "models/text/tokenizer.h"

namespace magicid::models::qwen2_5_vl {

// The turn as the published template writes it, up to where the answer begins. The video is one <|video_pad|>.
std::string render_chat(const std::string& text);

// Its token ids, with `video_tokens` times the video's. Throws UserError when the text itself holds a token that stands for a picture or a video, and when the
// tokeniser's id of <|video_pad|> is not the configuration's.
std::vector<std::int64_t> chat_ids(const text::Tokenizer& tokenizer, const QwenVlConfig& config, const std::string& text, std::int64_t video_tokens);

// Compares the folder's chat template (chat_template.jinja, chat_template.json, else of tokenizer_config.json) with the published one, which render_chat()
// writes out. Returns a warning when it is another that has the same words; throws UserError when it lacks a piece of what render_chat() writes. Nothing for
// the published one, and where there is none.
std::optional<std::string> check_chat_template(const std::filesystem::path& folder);

}  // namespace magicid::models::qwen2_5_vl
