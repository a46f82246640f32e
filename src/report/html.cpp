#include "report/html.h"

#include <array>
#include <charconv>
#include <cmath>

#include "base/errors.h"

namespace magicid::report {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view minus = "\xE2\x88\x92";        // U+2212
constexpr std::string_view dash = "\xE2\x80\x93";         // U+2013

// Length of the UTF-8 sequence at the front of `rest`, 0 when it is none (overlong forms and surrogates are none).
std::size_t utf8_length(std::string_view rest) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(rest[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || rest.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  if (first == 0xEF && second == 0xBF && byte(2) >= 0xBE) return 0;  // U+FFFE and U+FFFF are not characters
  return length;
}

std::string with_minus(std::string_view number) {
  if (number.empty() || number.front() != '-') return std::string(number);
  const std::string_view digits = number.substr(1);
  const bool zero = digits.find_first_not_of("0.") == std::string_view::npos;
  return zero ? std::string(digits) : std::string(minus) + std::string(digits);
}

// to_chars knows no locale: a comma as decimal point would break the drawings.
std::string plain_fixed(double value, int decimals) {
  std::array<char, 400> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed, decimals).ptr;
  return {buffer.data(), end};
}

std::string plain_scientific(double value, int significant) {
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific, significant - 1).ptr;
  std::string all(buffer.data(), end);
  const std::size_t e = all.find('e');
  std::string mantissa = all.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    mantissa.erase(mantissa.find_last_not_of('0') + 1);
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  const int exponent = std::stoi(all.substr(e + 1));
  return with_minus(mantissa) + "e" + with_minus(std::to_string(exponent));
}

}  // namespace

Html Html::trusted(std::string markup) {
  Html html;
  html.markup_ = std::move(markup);
  return html;
}

Html text(std::string_view plain) {
  std::string out;
  out.reserve(plain.size());
  while (!plain.empty()) {
    const std::size_t length = utf8_length(plain);
    const unsigned char first = static_cast<unsigned char>(plain.front());
    if (length == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) {
      if (first != '\r') out += replacement;
      plain.remove_prefix(1);
      continue;
    }
    switch (first) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += plain.substr(0, length);
    }
    plain.remove_prefix(length);
  }
  return Html::trusted(std::move(out));
}

std::string format_fixed(double value, int decimals) {
  if (!std::isfinite(value)) return std::string(dash);
  if (std::abs(value) >= 1e9) return plain_scientific(value, 3);
  return with_minus(plain_fixed(value, decimals));
}

std::string format_signed(double value, int decimals) {
  const std::string number = format_fixed(value, decimals);
  const bool zero = number.find_first_not_of("0.") == std::string::npos;
  return std::isfinite(value) && value > 0 && !zero ? "+" + number : number;
}

std::string format_number(double value, int significant) {
  if (!std::isfinite(value)) return std::string(dash);
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 1e6 || size < 1e-3) return plain_scientific(value, significant);
  const int magnitude = static_cast<int>(std::floor(std::log10(size)));
  return format_fixed(value, std::max(0, significant - 1 - magnitude));
}

std::string format_bytes(std::int64_t bytes) {
  if (bytes < 1000) return std::to_string(bytes) + " bytes";
  static constexpr std::array<std::string_view, 4> units = {"kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  return format_fixed(value, value < 10 ? 1 : 0) + " " + std::string(units[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return std::string(dash);
  if (seconds < 59.5) return format_fixed(seconds, seconds < 10 ? 1 : 0) + " s";
  const auto minutes = static_cast<std::int64_t>(std::llround(seconds / 60));
  if (minutes < 60) return std::to_string(minutes) + " min";
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

std::string count_of(std::size_t count, std::string_view singular, std::string_view plural) {
  return std::to_string(count) + " " + std::string(count == 1 ? singular : plural);
}

Html coordinate(double value) {
  base::check_invariant(std::isfinite(value), "report: a coordinate is not finite");
  std::string number = plain_fixed(value, 2);
  number.erase(number.find_last_not_of('0') + 1);
  if (number.back() == '.') number.pop_back();
  return Html::trusted(number == "-0" ? "0" : number);
}

std::string base64(std::string_view bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(static_cast<std::size_t>(base64_size(static_cast<std::int64_t>(bytes.size()))));
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) word = word << 8 | (k < left ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= left ? digits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::int64_t base64_size(std::int64_t bytes) { return (bytes + 2) / 3 * 4; }

}  // namespace magicid::report
