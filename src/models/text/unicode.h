// UTF-8 and the parts of Unicode that tokenisers rely on. Text is std::string in UTF-8 throughout.
//
// Normal forms and categories come from utf8proc; lower case follows Rust's char::to_lowercase (by character, without context), because
// that is what the reference implementation applies. Its normalisation tables are of Unicode 9, utf8proc's are newer: normal forms and categories
// can differ for characters that were assigned later.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace magicid::models::text::unicode {

// Each maximal invalid part becomes U+FFFD.
std::string replace_invalid(std::string_view bytes);

// The code point at byte `offset` of valid UTF-8; moves `offset` behind it.
char32_t next(std::string_view text, std::size_t& offset);

// The byte offset at which the character before `offset` begins; `offset` > 0.
std::size_t previous(std::string_view text, std::size_t offset);

void append(std::string& text, char32_t code_point);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::string normalize(std::string_view text, NormalForm form);
std::string lowercase(std::string_view text);

bool is_whitespace(char32_t c);      // property White_Space
bool is_numeric(char32_t c);         // categories Nd, Nl, No
bool is_punctuation(char32_t c);     // ASCII punctuation and the categories P*
bool is_combining_mark(char32_t c);  // categories M*

}  // namespace magicid::models::text::unicode
