#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/text/pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/errors.h"
#include "models/text/unicode.h"

namespace magicid::models::text {
namespace {

// Oniguruma's \w in Unicode; PCRE2's has neither marks nor connectors in all versions.
constexpr const char* kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

// Reads a pattern of Ruby's syntax and writes the same in PCRE2's.
class Translation {
 public:
  Translation(const std::string& regex, const std::string& where) : in_(regex), where_(where) {}

  std::string run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') escape(false);
      else if (c == '[') character_class();
      else if (c == '(') group();
      else if (c == '{') interval();
      else out_ += in_[at_++];
    }
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw base::UserError(where_, ": the pattern ", in_, " uses ", what, " at byte ", at_, ", which this program does not support");
  }

  void escape(bool in_class) {
    if (at_ + 1 >= in_.size()) refuse("a backslash at its end");
    const char c = in_[at_ + 1];
    const auto emit = [&](const std::string& text) {
      out_ += text;
      at_ += 2;
    };
    switch (c) {
      case 's': return emit("\\p{White_Space}");  // PCRE2's own \s also has U+180E
      case 'S': return emit("\\P{White_Space}");
      case 'w': return emit(in_class ? kWord : std::string("[") + kWord + "]");
      case 'W':
        if (in_class) refuse("\\W inside a class");
        return emit(std::string("[^") + kWord + "]");
      case 'b':
        if (in_class) return emit("\\x08");
        return emit(std::string("(?:(?<=[") + kWord + "])(?![" + kWord + "])|(?<![" + kWord + "])(?=[" + kWord + "]))");
      case 'v': return emit("\\x0B");
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'A':
      case 'z':
        if (in_class && (c == 'A' || c == 'z')) refuse(std::string("\\") + c + " inside a class");
        return emit(std::string("\\") + c);
      case 'p':
      case 'P': {
        const auto close = in_.find('}', at_);
        if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string::npos) refuse("a property without braces");
        out_ += in_.substr(at_, close + 1 - at_);
        at_ = close + 1;
        return;
      }
      case 'u': {
        if (at_ + 6 > in_.size()) refuse("an incomplete \\u");
        out_ += "\\x{" + in_.substr(at_ + 2, 4) + "}";
        at_ += 6;
        return;
      }
      case 'x': {
        const auto close = in_.find('}', at_);
        if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string::npos) refuse("\\x without braces");
        out_ += in_.substr(at_, close + 1 - at_);
        at_ = close + 1;
        return;
      }
      default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) refuse(std::string("\\") + c);
        return emit(std::string("\\") + c);
    }
  }

  void character_class() {
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == ']') refuse("] as the first character of a class");
    while (at_ < in_.size() && in_[at_] != ']') {
      if (in_[at_] == '[') refuse("a class inside a class");
      if (in_.compare(at_, 2, "&&") == 0) refuse("&& inside a class");
      if (in_[at_] == '\\') escape(true);
      else out_ += in_[at_++];
    }
    if (at_ >= in_.size()) refuse("a class that is not closed");
    out_ += in_[at_++];
  }

  void group() {
    if (in_.compare(at_, 2, "(?") != 0) {
      if (in_.compare(at_, 2, "(*") == 0) refuse("(*");
      out_ += in_[at_++];
      return;
    }
    for (const char* allowed : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      const std::string_view opening(allowed);
      if (in_.compare(at_, opening.size(), opening) != 0) continue;
      out_ += opening;
      at_ += opening.size();
      return;
    }
    // In the middle of an alternative Ruby's (?i) reaches over the following |, PCRE2's does not.
    if (at_ == 0 && in_.compare(0, 4, "(?i)") == 0) {
      out_ += "(?i)";
      at_ += 4;
      return;
    }
    refuse("the group " + in_.substr(at_, 4));
  }

  void interval() {
    const auto close = in_.find('}', at_);
    const std::string body = close == std::string::npos ? "" : in_.substr(at_ + 1, close - at_ - 1);
    const bool counts =
        !body.empty() && body != "," && body.find_first_not_of("0123456789,") == std::string::npos && std::count(body.begin(), body.end(), ',') <= 1;
    if (!counts) {
      out_ += "\\{";
      ++at_;
      return;
    }
    if (close + 1 < in_.size() && in_[close + 1] == '+') refuse("an interval followed by + (not possessive in Ruby's syntax)");
    if (close + 1 < in_.size() && in_[close + 1] == '?' && body.find(',') == std::string::npos) refuse("a fixed interval followed by ?");
    out_ += "{" + (body.front() == ',' ? "0" + body : body) + "}";
    at_ = close + 1;
  }

  const std::string& in_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

Pattern Pattern::from_regex(const std::string& regex, const std::string& where) {
  const std::string translated = Translation(regex, where).run();
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(pcre2_compile_context_create(nullptr),
                                                                                              &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ always match at lines.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset,
                                   context.get());
  if (code == nullptr && error == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
  if (code == nullptr) {
    PCRE2_UCHAR message[256] = {0};
    pcre2_get_error_message(error, message, sizeof(message));
    throw base::UserError(where, ": the pattern ", regex, " cannot be used: ", reinterpret_cast<const char*>(message));
  }
  Pattern pattern;
  pattern.code_ = std::shared_ptr<const void>(code, [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); });
  return pattern;
}

Pattern Pattern::from_literal(const std::string& literal, const std::string& where) {
  if (literal.empty()) throw base::UserError(where, ": an empty pattern");
  Pattern pattern;
  pattern.literal_ = literal;
  return pattern;
}

Pattern Pattern::from_json(const nlohmann::json& json, const std::string& where) {
  if (json.is_object() && json.size() == 1 && json.contains("Regex") && json["Regex"].is_string()) return from_regex(json["Regex"], where);
  if (json.is_object() && json.size() == 1 && json.contains("String") && json["String"].is_string()) return from_literal(json["String"], where);
  throw base::UserError(where, ": pattern ", json.dump(), "; expected {\"Regex\": \"...\"} or {\"String\": \"...\"}");
}

std::vector<Stretch> Pattern::find(std::string_view text) const {
  if (text.empty()) return {{0, 0, false}};
  std::vector<Stretch> out;
  std::size_t covered = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (covered != begin) out.push_back({covered, begin, false});
    out.push_back({begin, end, true});
    covered = end;
  };
  if (!code_) {
    for (auto at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size())) add(at, at + literal_.size());
  } else {
    const auto* code = static_cast<const pcre2_code*>(code_.get());
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(pcre2_match_data_create_from_pattern(code, nullptr), &pcre2_match_data_free);
    std::size_t from = 0;
    std::optional<std::size_t> last_end;
    while (from <= text.size()) {
      const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
      if (found < 0) throw base::UserError("a tokeniser's pattern gave up on a text of ", text.size(), " bytes (PCRE2 error ", found, "); shorten the text");
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
      if (ends[0] == ends[1] && last_end == ends[1]) {  // an empty match right behind a match does not count
        if (from >= text.size()) break;
        unicode::next(text, from);
        continue;
      }
      add(ends[0], ends[1]);
      from = ends[1];
      last_end = ends[1];
    }
  }
  if (covered != text.size()) out.push_back({covered, text.size(), false});
  return out;
}

std::vector<Stretch> find_characters(std::string_view text, const std::function<bool(char32_t)>& is_match) {
  std::vector<Stretch> out;
  std::size_t covered = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!is_match(unicode::next(text, at))) continue;
    if (covered != begin) out.push_back({covered, begin, false});
    out.push_back({begin, at, true});
    covered = at;
  }
  if (covered != text.size() || text.empty()) out.push_back({covered, text.size(), false});
  return out;
}

SplitBehavior split_behavior(const std::string& name, const std::string& where) {
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  throw base::UserError(where, ": unknown behavior \"", name, "\"; known are Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

std::vector<std::string> split(std::string_view text, std::vector<Stretch> stretches, SplitBehavior behavior) {
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(stretches.begin(), stretches.end());
  std::vector<Stretch> kept;
  bool previous_match = false;
  for (const Stretch& stretch : stretches) {
    bool join = false;
    if (behavior == SplitBehavior::contiguous) join = stretch.is_match == previous_match;
    else if (behavior == SplitBehavior::merged_with_previous || backwards) join = stretch.is_match && !previous_match;
    previous_match = stretch.is_match;
    if (behavior == SplitBehavior::removed && stretch.is_match) continue;
    if (join && !kept.empty()) {
      (backwards ? kept.back().begin : kept.back().end) = backwards ? stretch.begin : stretch.end;
    } else {
      kept.push_back(stretch);
    }
  }
  if (backwards) std::reverse(kept.begin(), kept.end());
  std::vector<std::string> pieces;
  for (const Stretch& stretch : kept) {
    if (stretch.end > stretch.begin) pieces.emplace_back(text.substr(stretch.begin, stretch.end - stretch.begin));
  }
  return pieces;
}

}  // namespace magicid::models::text
