#include "base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace magicid::base {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string zoe = "Zo\xC3\xAB", zoe_in_two = "Zoe\xCC\x88";  // one character; a letter and a mark

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was accepted";
  return {};
}

std::string refused_file(std::string_view bytes) {
  return refusal([&] { decode_written_file(bytes, "prompts.txt"); });
}

TEST(Text, IsInOneSpelling) {
  EXPECT_EQ(compose(zoe_in_two), zoe);
  EXPECT_EQ(compose(zoe), zoe);
  EXPECT_EQ(compose(""), "");
  EXPECT_EQ(decode_written_file("a photo of " + zoe_in_two + "\n", "a.txt"), "a photo of " + zoe + "\n");
  EXPECT_EQ(decode_written_text(zoe_in_two, "--prompt"), zoe);
  // What looks alike but is another character stays: NFC, not NFKC.
  EXPECT_EQ(compose("\xEF\xAC\x81"), "\xEF\xAC\x81");
}

TEST(Text, FormatsWithFileNamesKeepTheirSpelling) {
  EXPECT_EQ(decode_file(zoe_in_two, "a.csv"), zoe_in_two);
  EXPECT_EQ(decode_text(zoe_in_two, "--set output"), zoe_in_two);
}

TEST(Text, ByteOrderMarksAreNoText) {
  EXPECT_EQ(decode_written_file("\xEF\xBB\xBF"
                                "a\n\xEF\xBB\xBF"
                                "b\n",
                                "a.txt"),
            "a\nb\n");  // two files put together
  EXPECT_EQ(decode_written_text("\xEF\xBB\xBF"
                                "a",
                                "--prompt"),
            "a");
}

TEST(Text, OtherEncodingsAreNamedWithFileLineAndByte) {
  EXPECT_THAT(refused_file("a woman\r\nin a caf\xE9 sits\n"),
              AllOf(HasSubstr("prompts.txt:2: is not UTF-8: byte 9 of the line is 0xE9"), HasSubstr("iconv -f WINDOWS-1252 -t UTF-8 \"prompts.txt\"")));
  EXPECT_THAT(refused_file("a\rb\rc \x93quoted\x94"), HasSubstr("prompts.txt:3: is not UTF-8: byte 3 of the line is 0x93"));
  EXPECT_THAT(refused_file(std::string_view("\xFF\xFE"
                                            "a\0 \0",
                                            6)),
              AllOf(HasSubstr("prompts.txt:1: is not UTF-8"), HasSubstr("UTF-16")));
  EXPECT_THAT(refused_file(std::string_view("\xFE\xFF\0a", 4)), HasSubstr("UTF-16"));
  EXPECT_THAT(refused_file(std::string_view("a\0 \0w\0", 6)), HasSubstr("UTF-16"));
  // Overlong forms, surrogates and a sequence that the end cuts are none.
  for (const char* bytes : {"\xC0\xAF", "\xED\xA0\x80", "\xE2\x82", "\xF4\x90\x80\x80"})
    EXPECT_THAT(refused_file(bytes), HasSubstr("prompts.txt:1: is not UTF-8: byte 1"));
  EXPECT_THAT(refused_file("a\nb\x07"
                           "c"),
              HasSubstr("prompts.txt:2: holds the control character 7 as byte 2"));
  EXPECT_THAT(refusal([] { decode_text("caf\xE9", "--prompt"); }), AllOf(HasSubstr("--prompt: is not UTF-8: byte 4 is 0xE9"), HasSubstr("caf\\xE9")));
  EXPECT_THAT(refusal([] { decode_text(std::string_view("a\0b", 3), "--prompt"); }), HasSubstr("zero byte"));
  EXPECT_EQ(decode_written_file("", "a.txt"), "");
}

TEST(Text, EverySystemsLineEndsAreOne) {
  EXPECT_THAT(split_lines("a\nb\r\nc\rd"), ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(split_lines("a\n\n"), ElementsAre("a", ""));
  EXPECT_THAT(split_lines("\r\n"), ElementsAre(""));
  EXPECT_TRUE(split_lines("").empty());
}

TEST(FileNames, MustBeUtf8) {
  EXPECT_EQ(file_name("photos/" + zoe_in_two + ".jpg"), zoe_in_two + ".jpg");
  EXPECT_THAT(refusal([] { file_name("photos/Zo\xEB.jpg"); }), AllOf(HasSubstr("photos/Zo\\xEB.jpg"), HasSubstr("not UTF-8")));
}

TEST(FileNames, AreFoundInEitherSpelling) {
  FileNames names;
  names.add(zoe_in_two + ".txt");
  names.add("b.txt");
  EXPECT_EQ(names.find(zoe + ".txt"), zoe_in_two + ".txt");
  EXPECT_EQ(names.find(zoe_in_two + ".txt"), zoe_in_two + ".txt");
  EXPECT_TRUE(names.contains(zoe + ".txt"));
  EXPECT_FALSE(names.contains("c.txt"));
  EXPECT_EQ(names.find("c.txt"), "c.txt");
  names.add(zoe + ".txt");  // both are there: each is itself
  EXPECT_EQ(names.find(zoe + ".txt"), zoe + ".txt");
  EXPECT_EQ(names.find(zoe_in_two + ".txt"), zoe_in_two + ".txt");
}

}  // namespace
}  // namespace magicid::base
