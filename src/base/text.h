// Text that a person wrote: prompts, captions, tables, words of a configuration and of a command line. It arrives as bytes and leaves as UTF-8 in one spelling.
//
// All of the program compares texts byte by byte: in keys, in fingerprints, when a trigger word is looked for. So a letter with an accent must have one
// spelling, whether the editor wrote one character or a letter and a mark behind it: texts are brought to Unicode's form NFC where they come in (Unicode
// Standard Annex 15). Names of files are left as they are, because the file system compares bytes too.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace magicid::base {

// Length in bytes of the valid UTF-8 sequence at `offset`, or 0; `bad` then gets the length of the longest part that could begin one (Unicode 15, section 3.9,
// table 3-7).
std::size_t utf8_sequence_length(std::string_view text, std::size_t offset, std::size_t& bad);
// Byte offset of the first sequence that is not valid UTF-8, or std::string_view::npos.
std::size_t find_invalid_utf8(std::string_view text);
inline bool is_utf8(std::string_view text) { return find_invalid_utf8(text) == std::string_view::npos; }

// Whether a text file was saved as UTF-16 or UTF-32, which have marks of their own in front and zero bytes in every plain word.
bool looks_like_utf16(std::string_view bytes);

// For messages: bytes that are not UTF-8 as \xE9.
std::string escape_invalid_utf8(std::string_view bytes);

// Form NFC of valid UTF-8. Throws InvariantError for other bytes.
std::string compose(std::string_view text);

// The contents of a text file, without byte order marks, not composed: for formats that hold names of files beside texts. `file` is what errors call it. Throws
// UserError with file, line and byte for what is not UTF-8 (with advice for UTF-16 and Windows-1252) and for control characters other than tab and line ends.
std::string decode_file(std::string_view bytes, const std::string& file);
// The same, composed.
std::string decode_written_file(std::string_view bytes, const std::string& file);
// One text of a command line or of a table's cell, without byte order marks; `where` names it in errors ("--set output", "prompts.csv:6"). Any character is
// allowed but U+0000.
std::string decode_text(std::string_view bytes, const std::string& where);
// The same, composed.
std::string decode_written_text(std::string_view bytes, const std::string& where);

// The lines of a text; LF, CRLF and CR end one.
std::vector<std::string> split_lines(std::string_view text);

// The file's name without its folder, for JSON, tables and reports, which hold UTF-8 only. Throws UserError naming the path when it is not.
std::string file_name(const std::filesystem::path& path);

// Finds names of files by texts in which they stand. A file that was copied from another system may spell an accent in two characters where the text has one.
class FileNames {
 public:
  void add(const std::string& name) { by_text_.emplace(compose(name), name), exact_.emplace(name, name); }
  // The name as the folder has it, or `text` itself when there is none.
  std::string find(const std::string& text) const;
  bool contains(const std::string& text) const { return exact_.contains(text) || by_text_.contains(compose(text)); }

 private:
  std::map<std::string, std::string> exact_, by_text_;
};

}  // namespace magicid::base
