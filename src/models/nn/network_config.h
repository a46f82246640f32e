// Reading a network's config.json: every error names the file, the key, what stands there and what was expected.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/errors.h"

namespace magicid::models::nn {

// One JSON object and the place it came from. Everywhere a null counts as an absent key. All that reads a value throws UserError when the value is not of the
// kind that is asked for.
class NetworkConfig {
 public:
  // `place` is what messages call the object. Throws UserError when it is none.
  NetworkConfig(nlohmann::json object, std::string place);
  // Throws UserError when the file is missing, not JSON or not an object.
  static NetworkConfig open(const std::filesystem::path& file);

  bool has(const std::string& key) const;

  // A whole number from `least` to 2^24, beyond which a size of a network is a typing error that would end as a failed allocation; `fallback` when it is
  // absent.
  std::int64_t size(const std::string& key, std::int64_t fallback, std::int64_t least = 1) const;
  // A list of such numbers: of any length from 1 on, or of the length of `fallback`.
  std::vector<std::int64_t> sizes(const std::string& key, std::vector<std::int64_t> fallback) const;
  template <std::size_t count>
  std::array<std::int64_t, count> sizes(const std::string& key, std::array<std::int64_t, count> fallback, std::int64_t least = 1) const {
    if (has(key)) read_sizes(key, fallback.data(), count, least);
    return fallback;
  }
  std::int64_t integer(const std::string& key, std::int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  double positive(const std::string& key, double fallback) const;                                            // finite, above 0
  std::array<double, 3> three_numbers(const std::string& key, const std::array<double, 3>& fallback) const;  // of the channels red, green and blue
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<std::string> texts(const std::string& key) const;  // empty when absent
  // A text that must be one of `known`; without a fallback the key must be there.
  std::string choice(const std::string& key, const std::vector<std::string>& known) const;
  std::string choice(const std::string& key, const std::vector<std::string>& known, const std::string& fallback) const;
  // The object below `key`; an empty one when absent.
  NetworkConfig object(const std::string& key) const;

  const nlohmann::json& value() const { return json_; }
  const std::string& place() const { return place_; }

  // Throws UserError: "PLACE: KEY is VALUE; EXPECTED was expected".
  template <class... Parts>
  [[noreturn]] void refuse(const std::string& key, const Parts&... expected) const {
    throw base::UserError(place_, ": ", key, " is ", shown(key), "; ", expected..., " was expected");
  }

 private:
  void read_sizes(const std::string& key, std::int64_t* values, std::size_t count, std::int64_t least) const;
  std::string shown(const std::string& key) const;  // the value as JSON, a long one cut

  nlohmann::json json_;
  std::string place_;
};

}  // namespace magicid::models::nn
