#include "models/nn/network_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "support/temporary_folder.h"

namespace magicid::models::nn {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

std::string refusal(const std::function<void()>& read) {
  try {
    read();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(NetworkConfig, AbsentAndNullGiveTheDefault) {
  const NetworkConfig config({{"null", nullptr}}, "config.json");
  for (const char* key : {"null", "absent"}) {
    SCOPED_TRACE(key);
    EXPECT_FALSE(config.has(key));
    EXPECT_EQ(config.size(key, 7), 7);
    EXPECT_EQ(config.sizes(key, std::vector<std::int64_t>{1, 2}), (std::vector<std::int64_t>{1, 2}));
    EXPECT_EQ(config.sizes(key, std::array<std::int64_t, 2>{3, 4}), (std::array<std::int64_t, 2>{3, 4}));
    EXPECT_EQ(config.integer(key, -1), -1);
    EXPECT_EQ(config.number(key, 0.5), 0.5);
    EXPECT_EQ(config.positive(key, 0.25), 0.25);
    EXPECT_TRUE(config.boolean(key, true));
    EXPECT_EQ(config.text(key, "default"), "default");
    EXPECT_TRUE(config.texts(key).empty());
    EXPECT_EQ(config.choice(key, {"a", "b"}, "c"), "c");
    EXPECT_FALSE(config.object(key).has("anything"));
    EXPECT_THAT(refusal([&] { config.choice(key, {"a", "b"}); }), AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr("a or b")));
  }
}

TEST(NetworkConfig, ValuesAreRead) {
  const NetworkConfig config(
      json::parse(R"({"size": 16777216, "sizes": [1, 2, 3], "with_zero": [0, 5], "integer": -3, "number": 1e-5, "flag": false, "text": "b", "texts": ["x", ""],
                                             "object": {"size": 2}})"),
      "config.json");
  EXPECT_EQ(config.size("size", 1), 1 << 24);
  EXPECT_EQ(config.sizes("sizes", std::vector<std::int64_t>{}), (std::vector<std::int64_t>{1, 2, 3}));
  EXPECT_EQ(config.sizes("with_zero", std::array<std::int64_t, 2>{}, 0), (std::array<std::int64_t, 2>{0, 5}));
  EXPECT_EQ(config.integer("integer", 0), -3);
  EXPECT_EQ(config.positive("number", 1), 1e-5);
  EXPECT_FALSE(config.boolean("flag", true));
  EXPECT_EQ(config.choice("text", {"a", "b"}), "b");
  EXPECT_EQ(config.texts("texts"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(config.object("object").size("size", 0), 2);
  EXPECT_EQ(config.object("object").place(), "config.json: object");
}

TEST(NetworkConfig, WhatIsRefusedNamesPlaceKeyValueAndWhatWasExpected) {
  const json values = json::parse(
      R"({"zero": 0, "half": 0.5, "large": 16777217, "huge": 18446744073709551615, "text": "4", "list": [1, 0], "short": [1], "flag": 1, "negative": -1.5,
                                      "unknown": "c", "long": "0123456789012345678901234567890123456789012345678901234567890123456789", "empty": []})");
  const NetworkConfig config(values, "vae/config.json");
  const auto expect = [&](const char* key, const char* expected, const std::function<void()>& read) {
    EXPECT_THAT(refusal(read), AllOf(HasSubstr(std::string("vae/config.json: ") + key + " is " + values[key].dump().substr(0, 50)), HasSubstr(expected)));
  };
  for (const char* key : {"zero", "half", "large", "huge", "text", "list"})
    expect(key, "a whole number from 1 to 16777216 was expected", [&] { config.size(key, 1); });
  EXPECT_EQ(config.size("zero", 1, 0), 0);
  for (const char* key : {"list", "empty", "text"}) expect(key, "a list of ", [&] { config.sizes(key, std::vector<std::int64_t>{}); });
  for (const char* key : {"short", "list"}) expect(key, "a list of 2 whole numbers from 1 on", [&] { config.sizes(key, std::array<std::int64_t, 2>{}); });
  expect("half", "a whole number", [&] { config.integer("half", 1); });
  expect("text", "a number", [&] { config.number("text", 1); });
  for (const char* key : {"zero", "negative"}) expect(key, "a positive number", [&] { config.positive(key, 1); });
  expect("flag", "true or false", [&] { config.boolean("flag", true); });
  expect("flag", "a text", [&] { config.text("flag", ""); });
  for (const char* key : {"text", "list"}) expect(key, "a list of texts", [&] { config.texts(key); });
  for (const char* key : {"unknown", "flag"}) expect(key, "a or b was expected", [&] { config.choice(key, {"a", "b"}, "a"); });
  expect("list", "an object", [&] { config.object("list"); });
  EXPECT_THAT(refusal([&] { config.choice("long", {"a"}); }), AllOf(HasSubstr("012345...; a was"), testing::Not(HasSubstr("0123456789\""))));
}

TEST(NetworkConfig, FilesThatHoldNoObjectAreRefused) {
  const tests::TemporaryFolder folder;
  const auto file = folder.path() / "config.json";
  EXPECT_THAT(refusal([&] { NetworkConfig::open(file); }), AllOf(HasSubstr(file.string()), HasSubstr("cannot be read")));
  std::ofstream(file) << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_THAT(refusal([&] { NetworkConfig::open(file); }), AllOf(HasSubstr(file.string()), HasSubstr("not valid JSON"), HasSubstr("Git LFS")));
  std::ofstream(file) << "[1]\n";
  EXPECT_THAT(refusal([&] { NetworkConfig::open(file); }), AllOf(HasSubstr(file.string()), HasSubstr("holds array")));
}

}  // namespace
}  // namespace magicid::models::nn
