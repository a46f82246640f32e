#include "storage/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace magicid::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(const std::string& text) {
  try {
    read_csv(text, "table.csv");
  } catch (const base::UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was accepted: " << text;
  return {};
}

TEST(Csv, WhatIsWrittenIsReadAgain) {
  const std::vector<std::vector<std::string>> rows{{"file", "prompt"},
                                                   {"a.mp4", "she walks, then waves"},
                                                   {"b.mp4", "a \"quoted\" word"},
                                                   {"c.mp4", "two\nlines\r\nand\rmore"},
                                                   {"", " blanks around\t"},
                                                   {"d,e.mp4", ""},
                                                   {"\"", "\"\""},
                                                   {"Zürich", "猫"}};
  std::string text;
  for (const auto& row : rows) text += csv_row(row);
  const auto read = read_csv(text, "table.csv");
  ASSERT_EQ(read.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(read[i].cells, rows[i]) << i;
  EXPECT_EQ(read[4].line, 8u);  // the fourth row takes four lines
}

TEST(Csv, TheBytesAreThoseOfTheStandard) {
  EXPECT_EQ(csv_row({"a", "b,c", "d\"e", "f\ng", ""}), "a,\"b,c\",\"d\"\"e\",\"f\ng\",\r\n");
  EXPECT_EQ(csv_row({""}), "\"\"\r\n");
  EXPECT_EQ(read_csv("\"\"\r\n", "t").size(), 1u);
}

TEST(Csv, LineEndsBlankLinesAndAByteOrderMark) {
  const auto rows = read_csv(
      "\xEF\xBB\xBF"
      "a,b\r\n\r\n\n1,\"x\"\r2,y",
      "t");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_THAT(rows[0].cells, ElementsAre("a", "b"));
  EXPECT_THAT(rows[1].cells, ElementsAre("1", "x"));
  EXPECT_EQ(rows[1].line, 4u);
  EXPECT_THAT(rows[2].cells, ElementsAre("2", "y"));
  EXPECT_TRUE(read_csv("", "t").empty());
  EXPECT_THAT(read_csv(",", "t")[0].cells, ElementsAre("", ""));
}

TEST(Csv, FaultsNameTheLine) {
  EXPECT_THAT(refusal("a,b\nc,\"never closed\nmore"), HasSubstr("table.csv:2: "));
  EXPECT_THAT(refusal("a,b\n\nc,say \"this\""), HasSubstr("table.csv:3: a quote inside"));
  EXPECT_THAT(refusal("\"a\"b,c"), HasSubstr("table.csv:1: text behind"));
}

}  // namespace
}  // namespace magicid::storage
