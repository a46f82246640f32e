#include "base/hash.h"

#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/errors.h"

namespace magicid::base {

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh); }
Hasher::~Hasher() = default;

Hasher& Hasher::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
  return *this;
}

Hasher& Hasher::update(std::string_view text) { return update(std::as_bytes(std::span(text.data(), text.size()))); }

std::string Hasher::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh));
  std::string text(32, '0');
  for (int i = 0; i < 16; ++i) std::snprintf(text.data() + 2 * i, 3, "%02x", canonical.digest[i]);
  return text;
}

std::string hash_hex(std::string_view text) { return Hasher().update(text).hex(); }
std::string hash_hex(std::span<const std::byte> bytes) { return Hasher().update(bytes).hex(); }
std::string hash_json(const nlohmann::json& value) { return hash_hex(std::string_view(value.dump())); }

std::string hash_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw SystemError(path.string(), ": cannot be opened for reading: ", errno_text(errno));
  Hasher hasher;
  std::vector<char> buffer(1 << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hasher.update(std::string_view(buffer.data(), static_cast<std::size_t>(in.gcount())));
  }
  if (in.bad()) throw SystemError(path.string(), ": read failed: ", errno_text(errno));
  return hasher.hex();
}

}  // namespace magicid::base
