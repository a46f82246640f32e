#include "report/html.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"

namespace magicid::report {
namespace {

TEST(Escaping, MarkupAndQuotesLoseTheirMeaning) {
  EXPECT_EQ(text("<script>alert(\"1\" & '2')</script>").str(), "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;");
  EXPECT_EQ(text("&lt;").str(), "&amp;lt;");
}

TEST(Escaping, ValidUtf8StaysAndAnythingElseIsReplaced) {
  const std::string valid = "caf\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80\n\t";
  EXPECT_EQ(text(valid).str(), valid);
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(text("a\xFFz").str(), "a" + mark + "z");
  EXPECT_EQ(text("\xC3").str(), mark);                        // cut off
  EXPECT_EQ(text("\xC0\xBC").str(), mark + mark);             // overlong "<"
  EXPECT_EQ(text("\xED\xA0\x80").str(), mark + mark + mark);  // a surrogate
  EXPECT_EQ(text(std::string_view("\0\x01\x1B\x7F", 4)).str(), mark + mark + mark + mark);
  EXPECT_EQ(text("a\r\nb").str(), "a\nb");
}

TEST(Numbers, ReadWell) {
  EXPECT_EQ(format_number(0.6041), "0.604");
  EXPECT_EQ(format_number(1423.55), "1424");
  EXPECT_EQ(format_number(2e-5),
            "2e\xE2\x88\x92"
            "5");
  EXPECT_EQ(format_number(-3.25e7),
            "\xE2\x88\x92"
            "3.25e7");
  EXPECT_EQ(format_number(std::nan("")), "\xE2\x80\x93");
  EXPECT_EQ(format_number(-INFINITY), "\xE2\x80\x93");
  EXPECT_EQ(format_fixed(-0.01, 1), "0.0");
  EXPECT_EQ(format_signed(1.25, 2), "+1.25");
  EXPECT_EQ(format_signed(0.01, 1), "0.0");
  EXPECT_EQ(format_signed(-1, 1),
            "\xE2\x88\x92"
            "1.0");
  EXPECT_EQ(format_bytes(999), "999 bytes");
  EXPECT_EQ(format_bytes(78'512'640), "79 MB");
  EXPECT_EQ(format_duration(4.21), "4.2 s");
  EXPECT_EQ(format_duration(59.7), "1 min");
  EXPECT_EQ(format_duration(4330), "1 h 12 min");
}

TEST(Numbers, CoordinatesArePlainAndFinite) {
  EXPECT_EQ(coordinate(12.5).str(), "12.5");
  EXPECT_EQ(coordinate(100).str(), "100");
  EXPECT_EQ(coordinate(-0.001).str(), "0");
  EXPECT_THROW(coordinate(std::nan("")), base::InvariantError);
}

TEST(Base64, FollowsTheExamplesOfRfc4648) {
  const std::pair<std::string, std::string> examples[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : examples) {
    EXPECT_EQ(base64(plain), coded);
    EXPECT_EQ(base64_size(static_cast<std::int64_t>(plain.size())), static_cast<std::int64_t>(coded.size()));
  }
  EXPECT_EQ(base64("\xFF\xFE\xFB"), "//77");
}

}  // namespace
}  // namespace magicid::report
