#include "models/nn/network_config.h"

#include <algorithm>
#include <cmath>
#include <fstream>

namespace magicid::models::nn {
namespace {

using base::UserError;
using nlohmann::json;

constexpr std::int64_t kLargestSize = std::int64_t{1} << 24;

bool is_size(const json& value, std::int64_t least) {
  return value.is_number_integer() && value.get<double>() >= static_cast<double>(least) && value.get<double>() <= static_cast<double>(kLargestSize);
}

std::string one_of(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : " or ") + name;
  return text;
}

}  // namespace

NetworkConfig NetworkConfig::open(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw UserError(file.string(), ": cannot be read; a network's folder holds this file beside its weights");
  json parsed;
  try {
    parsed = json::parse(in);
  } catch (const json::exception& error) {
    throw UserError(file.string(), ": not valid JSON (", error.what(), "). Download the file again; a Git LFS pointer looks like this too.");
  }
  return {std::move(parsed), file.string()};
}

NetworkConfig::NetworkConfig(json object, std::string place) : json_(std::move(object)), place_(std::move(place)) {
  if (!json_.is_object()) throw UserError(place_, ": holds ", json_.type_name(), "; a JSON object was expected");
}

bool NetworkConfig::has(const std::string& key) const { return json_.contains(key) && !json_.at(key).is_null(); }

std::string NetworkConfig::shown(const std::string& key) const {
  std::string text = json_.contains(key) ? json_.at(key).dump() : "absent";
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::int64_t NetworkConfig::size(const std::string& key, std::int64_t fallback, std::int64_t least) const {
  if (!has(key)) return fallback;
  if (!is_size(json_.at(key), least)) refuse(key, "a whole number from ", least, " to ", kLargestSize);
  return json_.at(key).get<std::int64_t>();
}

std::vector<std::int64_t> NetworkConfig::sizes(const std::string& key, std::vector<std::int64_t> fallback) const {
  if (!has(key)) return fallback;
  std::vector<std::int64_t> values(std::max<std::size_t>(1, json_.at(key).size()));
  read_sizes(key, values.data(), values.size(), 1);
  return values;
}

void NetworkConfig::read_sizes(const std::string& key, std::int64_t* values, std::size_t count, std::int64_t least) const {
  const json& list = json_.at(key);
  if (!list.is_array() || list.size() != count || !std::all_of(list.begin(), list.end(), [&](const json& value) { return is_size(value, least); }))
    refuse(key, "a list of ", count, count == 1 ? " whole number from " : " whole numbers from ", least, " on");
  for (const json& value : list) *values++ = value.get<std::int64_t>();
}

std::int64_t NetworkConfig::integer(const std::string& key, std::int64_t fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_number_integer()) refuse(key, "a whole number");
  return json_.at(key).get<std::int64_t>();
}

double NetworkConfig::number(const std::string& key, double fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_number()) refuse(key, "a number");
  return json_.at(key).get<double>();
}

double NetworkConfig::positive(const std::string& key, double fallback) const {
  const double value = number(key, fallback);
  if (!std::isfinite(value) || value <= 0) refuse(key, "a positive number");
  return value;
}

std::array<double, 3> NetworkConfig::three_numbers(const std::string& key, const std::array<double, 3>& fallback) const {
  if (!has(key)) return fallback;
  const json& list = json_.at(key);
  if (!list.is_array() || list.size() != 3 || !std::all_of(list.begin(), list.end(), [](const json& value) { return value.is_number(); }))
    refuse(key, "a list of three numbers");
  return list.get<std::array<double, 3>>();
}

bool NetworkConfig::boolean(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_boolean()) refuse(key, "true or false");
  return json_.at(key).get<bool>();
}

std::string NetworkConfig::text(const std::string& key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!json_.at(key).is_string()) refuse(key, "a text");
  return json_.at(key).get<std::string>();
}

std::vector<std::string> NetworkConfig::texts(const std::string& key) const {
  std::vector<std::string> values;
  if (!has(key)) return values;
  if (!json_.at(key).is_array()) refuse(key, "a list of texts");
  for (const auto& value : json_.at(key)) {
    if (!value.is_string()) refuse(key, "a list of texts");
    values.push_back(value.get<std::string>());
  }
  return values;
}

std::string NetworkConfig::choice(const std::string& key, const std::vector<std::string>& known) const {
  const json* value = has(key) ? &json_.at(key) : nullptr;
  if (!value || !value->is_string() || std::find(known.begin(), known.end(), value->get<std::string>()) == known.end()) refuse(key, one_of(known));
  return value->get<std::string>();
}

std::string NetworkConfig::choice(const std::string& key, const std::vector<std::string>& known, const std::string& fallback) const {
  return has(key) ? choice(key, known) : fallback;
}

NetworkConfig NetworkConfig::object(const std::string& key) const {
  if (!has(key)) return {json::object(), place_ + ": " + key};
  if (!json_.at(key).is_object()) refuse(key, "an object");
  return {json_.at(key), place_ + ": " + key};
}

}  // namespace magicid::models::nn
