#include "models/text/byte_alphabet.h"

#include <unordered_map>

#include "models/text/unicode.h"

namespace magicid::models::text {

const std::array<std::string, 256>& byte_alphabet() {
  static const auto table = [] {
    std::array<std::string, 256> out;
    char32_t stand_in = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      unicode::append(out[b], printable ? b : stand_in++);
    }
    return out;
  }();
  return table;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_alphabet()[static_cast<unsigned char>(c)];
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  static const auto inverse = [] {
    std::unordered_map<char32_t, char> out;
    for (int b = 0; b < 256; ++b) {
      std::size_t at = 0;
      out[unicode::next(byte_alphabet()[b], at)] = static_cast<char>(b);
    }
    return out;
  }();
  std::string bytes;
  for (std::size_t at = 0; at < text.size();) {
    const auto it = inverse.find(unicode::next(text, at));
    if (it == inverse.end()) return std::nullopt;
    bytes += it->second;
  }
  return bytes;
}

}  // namespace magicid::models::text
