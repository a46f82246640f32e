#include "base/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/errors.h"

namespace magicid::base {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";  // U+FEFF

std::string hexadecimal(char byte) {
  char text[8];
  std::snprintf(text, sizeof text, "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(byte)));
  return text;
}

struct Position {
  std::size_t line = 1, byte = 1;  // both from 1, the byte within the line
};

// A CR that no LF follows ends a line too.
Position position_of(std::string_view bytes, std::size_t offset) {
  Position position;
  for (std::size_t i = 0; i < offset; ++i) {
    const bool ends = bytes[i] == '\n' || (bytes[i] == '\r' && (i + 1 >= bytes.size() || bytes[i + 1] != '\n'));
    position = ends ? Position{position.line + 1, 1} : Position{position.line, position.byte + 1};
  }
  return position;
}

[[noreturn]] void refuse_encoding(std::string_view bytes, std::size_t offset, const std::string& file) {
  if (looks_like_utf16(bytes))
    throw UserError(file, ":1: is not UTF-8: it begins as UTF-16 does (byte 1 is ", hexadecimal(bytes[0]),
                    "). Save it as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8 \"", file, "\"");
  const Position at = position_of(bytes, offset);
  throw UserError(file, ":", at.line, ": is not UTF-8: byte ", at.byte, " of the line is ", hexadecimal(bytes[offset]),
                  ". Save it as UTF-8; a file of Windows-1252 or Latin-1 is converted by: iconv -f WINDOWS-1252 -t UTF-8 \"", file, "\"");
}

std::string without_marks(std::string_view text) {
  std::string out(text);
  for (auto at = out.find(byte_order_mark); at != std::string::npos; at = out.find(byte_order_mark, at)) out.erase(at, byte_order_mark.size());
  return out;
}

}  // namespace

std::size_t utf8_sequence_length(std::string_view text, std::size_t offset, std::size_t& bad) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(offset);
  bad = 1;
  if (first < 0x80) return 1;
  std::size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (offset + i >= text.size() || byte(offset + i) < low || byte(offset + i) > high) {
      bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0, bad = 0; i < text.size();) {
    const std::size_t length = utf8_sequence_length(text, i, bad);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

bool looks_like_utf16(std::string_view bytes) {
  return bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF") || bytes.substr(0, 4).find('\0') != std::string_view::npos;
}

std::string escape_invalid_utf8(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0, bad = 0; i < bytes.size();) {
    const std::size_t length = utf8_sequence_length(bytes, i, bad);
    if (length == 0) {
      out += "\\x" + hexadecimal(bytes[i++]).substr(2);
    } else {
      out.append(bytes.substr(i, length));
      i += length;
    }
  }
  return out;
}

std::string compose(std::string_view text) {
  utf8proc_uint8_t* out = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &out,
                                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
  check_invariant(length >= 0, "compose: ", length < 0 ? utf8proc_errmsg(length) : "");
  return length == 0 ? std::string() : std::string(reinterpret_cast<const char*>(out), static_cast<std::size_t>(length));
}

std::string decode_file(std::string_view bytes, const std::string& file) {
  const std::string name = escape_invalid_utf8(file);
  if (looks_like_utf16(bytes)) refuse_encoding(bytes, 0, name);
  if (const auto invalid = find_invalid_utf8(bytes); invalid != std::string_view::npos) refuse_encoding(bytes, invalid, name);
  const auto control =
      std::find_if(bytes.begin(), bytes.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r'; });
  if (control != bytes.end()) {
    const Position at = position_of(bytes, static_cast<std::size_t>(control - bytes.begin()));
    throw UserError(name, ":", at.line, ": holds the control character ", static_cast<int>(*control), " as byte ", at.byte,
                    " of the line. Is it a text file in UTF-8?");
  }
  return without_marks(bytes);
}

std::string decode_written_file(std::string_view bytes, const std::string& file) { return compose(decode_file(bytes, file)); }

std::string decode_text(std::string_view bytes, const std::string& where) {
  if (const auto invalid = find_invalid_utf8(bytes); invalid != std::string_view::npos)
    throw UserError(where, ": is not UTF-8: byte ", invalid + 1, " is ", hexadecimal(bytes[invalid]), " in \"", escape_invalid_utf8(bytes),
                    "\". Write it in UTF-8, in a terminal or table that is set to it");
  if (bytes.find('\0') != std::string_view::npos) throw UserError(where, ": holds a zero byte, which no text does");
  return without_marks(bytes);
}

std::string decode_written_text(std::string_view bytes, const std::string& where) { return compose(decode_text(bytes, where)); }

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find_first_of("\r\n");
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  return lines;
}

std::string file_name(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  if (!is_utf8(name))
    throw UserError(escape_invalid_utf8(path.string()),
                    ": the file's name is not UTF-8, and reports and tables could not hold it. Rename the file; convmv -f latin1 -t utf8 renames many at once");
  return name;
}

std::string FileNames::find(const std::string& text) const {
  if (exact_.contains(text)) return text;
  const auto found = by_text_.find(compose(text));
  return found == by_text_.end() ? text : found->second;
}

}  // namespace magicid::base
