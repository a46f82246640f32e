#include "models/vision/network_config.h"

#include <algorithm>
#include <fstream>

#include "base/errors.h"

namespace magicid::models::vision {
namespace {

using base::UserError;
using nlohmann::json;

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

[[noreturn]] void wrong_type(const NetworkConfig& config, const std::string& key, const char* expected) {
  throw UserError(config.place(), ": ", key, " is ", config.value().at(key).dump(), "; ", expected, " was expected");
}

}  // namespace

NetworkConfig NetworkConfig::open(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw UserError(file.string(), ": cannot be read; a network's folder holds this file beside model.safetensors");
  json parsed;
  try {
    parsed = json::parse(in);
  } catch (const json::exception& error) {
    throw UserError(file.string(), ": not JSON: ", error.what());
  }
  return from_json(std::move(parsed), file.string());
}

NetworkConfig NetworkConfig::from_json(json object, std::string place) {
  if (!object.is_object()) throw UserError(place, ": a JSON object was expected");
  NetworkConfig config;
  config.json_ = std::move(object);
  config.place_ = std::move(place);
  return config;
}

bool NetworkConfig::has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

std::int64_t NetworkConfig::positive(const std::string& key, std::int64_t fallback) const {
  if (!has(key)) return fallback;
  const json& value = json_.at(key);
  // One million bounds every size of a network; larger numbers are typing errors that would end as failed allocations.
  if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > 1e6) wrong_type(*this, key, "an integer from 1 to 1000000");
  return value.get<std::int64_t>();
}

double NetworkConfig::number(const std::string& key, double fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_number()) wrong_type(*this, key, "a number");
  return json_.at(key).get<double>();
}

bool NetworkConfig::boolean(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_boolean()) wrong_type(*this, key, "true or false");
  return json_.at(key).get<bool>();
}

std::string NetworkConfig::text(const std::string& key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_string()) wrong_type(*this, key, "a text");
  return json_.at(key).get<std::string>();
}

std::vector<std::string> NetworkConfig::texts(const std::string& key) const {
  std::vector<std::string> values;
  if (!has(key)) return values;
  if (!json_.at(key).is_array()) wrong_type(*this, key, "a list of texts");
  for (const auto& value : json_.at(key)) {
    if (!value.is_string()) wrong_type(*this, key, "a list of texts");
    values.push_back(value.get<std::string>());
  }
  return values;
}

NetworkConfig NetworkConfig::object(const std::string& key) const {
  if (!has(key)) return from_json(json::object(), place_ + ": " + key);
  if (!json_.at(key).is_object()) wrong_type(*this, key, "an object");
  return from_json(json_.at(key), place_ + ": " + key);
}

std::string NetworkConfig::architecture(const std::vector<std::string>& known) const {
  if (!has("architecture")) throw UserError(place_, ": has no 'architecture'; one of ", list(known), " was expected");
  const std::string name = text("architecture", "");
  if (std::find(known.begin(), known.end(), name) == known.end())
    throw UserError(place_, ": architecture '", name, "' is not known here; one of ", list(known), " was expected");
  return name;
}

}  // namespace magicid::models::vision
