#include "models/text/post_processor.h"

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/text/json_fields.h"

namespace magicid::models::text {
namespace {

// ["[SEP]", 2]
std::int64_t token_and_id(const nlohmann::json& json, const char* key, const std::string& where) {
  const auto& pair = require_array(json, key, where);
  if (pair.size() != 2 || !pair[1].is_number_integer()) throw base::UserError(where, ": \"", key, "\" is ", pair.dump(), "; expected [token, id]");
  return pair[1].get<std::int64_t>();
}

}  // namespace

PostProcessor PostProcessor::from_json(const nlohmann::json& json, const std::string& where) {
  PostProcessor out;
  if (json.is_null()) {
    out.null_ = true;
    return out;
  }
  const std::string type = require_string(json, "type", where);
  if (type == "ByteLevel") return out;
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    out.before_ = {token_and_id(json, "cls", where)};
    out.after_ = {token_and_id(json, "sep", where)};
  } else if (type == "TemplateProcessing") {
    const auto& specials = require(json, "special_tokens", where);
    bool sequence_seen = false;
    for (const auto& piece : require_array(json, "single", where)) {
      if (piece.is_object() && piece.contains("Sequence")) {
        if (sequence_seen) throw base::UserError(where, ": TemplateProcessing's \"single\" names the text twice, which is not supported");
        sequence_seen = true;
        continue;
      }
      const std::string name = require_string(require(piece, "SpecialToken", where), "id", where);
      for (const auto& id : require_array(require(specials, name.c_str(), where), "ids", where)) {
        (sequence_seen ? out.after_ : out.before_).push_back(id.get<std::int64_t>());
      }
    }
    if (!sequence_seen) throw base::UserError(where, ": TemplateProcessing's \"single\" does not name the text");
  } else if (type == "Sequence") {
    for (const auto& part : require_array(json, "processors", where)) {
      const PostProcessor inner = from_json(part, where);
      out.before_.insert(out.before_.begin(), inner.before_.begin(), inner.before_.end());
      out.after_.insert(out.after_.end(), inner.after_.begin(), inner.after_.end());
    }
  } else {
    throw base::UserError(where, ": post_processor \"", type,
                          "\" is not supported; supported are ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing and Sequence");
  }
  return out;
}

PostProcessor PostProcessor::surround(std::vector<std::int64_t> before, std::vector<std::int64_t> after) {
  PostProcessor out;
  out.before_ = std::move(before);
  out.after_ = std::move(after);
  return out;
}

std::vector<std::int64_t> PostProcessor::operator()(const std::vector<std::int64_t>& ids) const {
  std::vector<std::int64_t> out = before_;
  out.insert(out.end(), ids.begin(), ids.end());
  out.insert(out.end(), after_.begin(), after_.end());
  return out;
}

}  // namespace magicid::models::text
