// xxh128: content keys of candidates, fingerprints of stages, checks of files. Not cryptographic.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace magicid::base {

// Streaming xxh128 (seed 0); the digest is 32 lower-case hex digits in canonical (big-endian) order, as `xxhsum -H2` prints.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  Hasher& update(std::span<const std::byte> bytes);
  Hasher& update(std::string_view text);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string hash_hex(std::string_view text);
std::string hash_hex(std::span<const std::byte> bytes);
// Canonical JSON: keys sorted, no white space, shortest round-trip numbers.
std::string hash_json(const nlohmann::json& value);
// Throws SystemError when the file cannot be read.
std::string hash_file(const std::filesystem::path& path);

}  // namespace magicid::base
