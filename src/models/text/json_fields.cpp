#include "models/text/json_fields.h"

#include "base/errors.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

[[noreturn]] void wrong_type(const nlohmann::json& json, const char* key, const char* expected, const std::string& where) {
  std::string text = json[key].dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  throw base::UserError(where, ": \"", key, "\" is ", text, "; expected ", expected);
}

const nlohmann::json* find(const nlohmann::json& json, const char* key) {
  if (!json.is_object()) return nullptr;
  const auto it = json.find(key);
  return it == json.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace

nlohmann::json read_json(const std::filesystem::path& path) {
  const std::string text = storage::read_text(path);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw base::UserError(path.string(), ": not valid JSON (", error.what(), "). Download the file again; a Git LFS pointer looks like this too.");
  }
}

std::optional<nlohmann::json> read_json_if_there(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_json(path);
}

const nlohmann::json& require(const nlohmann::json& json, const char* key, const std::string& where) {
  if (!json.is_object()) throw base::UserError(where, ": expected an object with \"", key, "\", found ", json.type_name());
  const auto it = json.find(key);
  if (it == json.end()) throw base::UserError(where, ": \"", key, "\" is missing");
  return *it;
}

const nlohmann::json& require_array(const nlohmann::json& json, const char* key, const std::string& where) {
  const auto& value = require(json, key, where);
  if (!value.is_array()) wrong_type(json, key, "a list", where);
  return value;
}

std::string require_string(const nlohmann::json& json, const char* key, const std::string& where) {
  const auto& value = require(json, key, where);
  if (!value.is_string()) wrong_type(json, key, "text", where);
  return value.get<std::string>();
}

std::int64_t require_integer(const nlohmann::json& json, const char* key, const std::string& where) {
  const auto& value = require(json, key, where);
  if (!value.is_number_integer()) wrong_type(json, key, "an integer", where);
  return value.get<std::int64_t>();
}

bool bool_or(const nlohmann::json& json, const char* key, bool fallback, const std::string& where) {
  const auto* value = find(json, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong_type(json, key, "true or false", where);
  return value->get<bool>();
}

std::string string_or(const nlohmann::json& json, const char* key, const std::string& fallback, const std::string& where) {
  return find(json, key) == nullptr ? fallback : require_string(json, key, where);
}

double number_or(const nlohmann::json& json, const char* key, double fallback, const std::string& where) {
  const auto* value = find(json, key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) wrong_type(json, key, "a number", where);
  return value->get<double>();
}

}  // namespace magicid::models::text
