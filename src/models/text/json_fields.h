// Fields of the JSON files that come with text models, read with messages that name file and key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace magicid::models::text {

// Throws UserError naming the file and the place of the fault. Empty when the file does not exist.
std::optional<nlohmann::json> read_json_if_there(const std::filesystem::path& path);
nlohmann::json read_json(const std::filesystem::path& path);

// `where` is the file and place for the message. All throw UserError on a missing key or a wrong type.
const nlohmann::json& require(const nlohmann::json& json, const char* key, const std::string& where);
const nlohmann::json& require_array(const nlohmann::json& json, const char* key, const std::string& where);
std::string require_string(const nlohmann::json& json, const char* key, const std::string& where);
std::int64_t require_integer(const nlohmann::json& json, const char* key, const std::string& where);

// A missing key or null gives the default.
bool bool_or(const nlohmann::json& json, const char* key, bool fallback, const std::string& where);
std::string string_or(const nlohmann::json& json, const char* key, const std::string& fallback, const std::string& where);
double number_or(const nlohmann::json& json, const char* key, double fallback, const std::string& where);

}  // namespace magicid::models::text
