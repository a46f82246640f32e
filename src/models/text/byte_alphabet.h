// GPT-2's printable stand-ins for the 256 bytes: the alphabet of byte-level BPE.
// Source: bytes_to_unicode in src/encoder.py of github.com/openai/gpt-2.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace magicid::models::text {

// The stand-in of each byte, in UTF-8.
const std::array<std::string, 256>& byte_alphabet();

std::string bytes_to_alphabet(std::string_view bytes);
// Empty when a character is no stand-in.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace magicid::models::text
