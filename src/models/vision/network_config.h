// Reading a network's config.json: every error names the file, the key and what was expected.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace magicid::models::vision {

// One JSON object and the place it came from.
class NetworkConfig {
 public:
  // Throws UserError when the file is missing, not JSON or not an object.
  static NetworkConfig open(const std::filesystem::path& file);
  // `place` is what messages call the object.
  static NetworkConfig from_json(nlohmann::json object, std::string place);

  bool has(const std::string& key) const;  // present and not null
  // The value, or `fallback` when the key is absent or null. Throws UserError for another type, and for integers below 1.
  std::int64_t positive(const std::string& key, std::int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<std::string> texts(const std::string& key) const;  // empty when absent
  // The object below `key`; an empty one when absent.
  NetworkConfig object(const std::string& key) const;
  const nlohmann::json& value() const { return json_; }
  const std::string& place() const { return place_; }

  // The text at `architecture`. Throws UserError, listing `known`, when it is absent or none of them.
  std::string architecture(const std::vector<std::string>& known) const;

 private:
  nlohmann::json json_;
  std::string place_;
};

}  // namespace magicid::models::vision
