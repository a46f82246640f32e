// Markup under construction. Only literals and values that passed through text() get in, so that forgetting to escape does not compile.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace magicid::report {

class Html {
 public:
  Html() = default;
  template <std::size_t size>
  Html(const char (&literal)[size]) : markup_(literal, size - 1) {}
  // For markup that was not written as a literal: style sheets, scripts, base64.
  static Html trusted(std::string markup);

  template <std::size_t size>
  Html& operator<<(const char (&literal)[size]) {
    markup_.append(literal, size - 1);
    return *this;
  }
  Html& operator<<(const Html& other) {
    markup_ += other.markup_;
    return *this;
  }
  template <std::integral Integer>
    requires(!std::same_as<Integer, char> && !std::same_as<Integer, bool>)
  Html& operator<<(Integer value) {
    markup_ += std::to_string(value);
    return *this;
  }

  bool empty() const { return markup_.empty(); }
  std::size_t size() const { return markup_.size(); }
  const std::string& str() const& { return markup_; }
  std::string str() && { return std::move(markup_); }

 private:
  std::string markup_;
};

// Escaped for element content and for quoted attributes: & < > " '. Control characters and bytes that are not UTF-8 become U+FFFD.
Html text(std::string_view plain);

// Numbers for readers: significant digits, a real minus sign, powers of ten when very large or small, a dash for what is not finite.
std::string format_number(double value, int significant = 3);
std::string format_fixed(double value, int decimals);
std::string format_signed(double value, int decimals);                                        // "+1.2", "−0.3"
std::string format_bytes(std::int64_t bytes);                                                 // "3.1 MB" (powers of 1000)
std::string format_duration(double seconds);                                                  // "1 h 12 min", "4.2 s"
std::string count_of(std::size_t count, std::string_view singular, std::string_view plural);  // "1 pair", "3 pairs"

// For coordinates and percentages in markup: plain ASCII, at most two decimals; not finite is an InvariantError.
Html coordinate(double value);

std::string base64(std::string_view bytes);
std::int64_t base64_size(std::int64_t bytes);

}  // namespace magicid::report
