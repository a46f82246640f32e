// Ids and texts against transformers' fast tokenisers: tests/reference/make_tokenizers.py.
#include "models/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace magicid::models::text {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int64_t>;
const fs::path kData = fs::path(MAGICID_TEST_DATA) / "tokenizers";

const nlohmann::json& expected() {
  static const nlohmann::json json = [] {
    std::ifstream in(kData / "expected.json");
    return nlohmann::json::parse(in);
  }();
  return json["tokenizers"];
}

class AgainstReference : public testing::TestWithParam<std::string> {
 protected:
  void compare(const char* set) {
    const Tokenizer tokenizer = Tokenizer::load(kData / GetParam());
    const auto& cases = expected()[GetParam()][set];
    ASSERT_GT(cases.size(), 5u);
    for (const auto& item : cases) {
      const auto text = item["text"].get<std::string>();
      SCOPED_TRACE(text);
      const auto ids = tokenizer.encode(text);
      EXPECT_EQ(ids, item["ids"].get<Ids>());
      EXPECT_EQ(tokenizer.encode(text, false), item["plain"].get<Ids>());
      const auto padded = tokenizer.encode_padded(text, 12);
      EXPECT_EQ(padded.ids, item["padded"].get<Ids>());
      EXPECT_EQ(padded.attention_mask, item["mask"].get<Ids>());
      EXPECT_EQ(tokenizer.decode(ids), item["decoded"].get<std::string>());
      EXPECT_EQ(tokenizer.decode(ids, true), item["decoded_without_special"].get<std::string>());
    }
  }
};

TEST_P(AgainstReference, TextsOfTheSet) { compare("texts"); }
TEST_P(AgainstReference, TextsHeldBack) { compare("held_back"); }
TEST_P(AgainstReference, VocabularySizeAndPadToken) {
  const Tokenizer tokenizer = Tokenizer::load(kData / GetParam());
  EXPECT_EQ(tokenizer.vocabulary_size(), expected()[GetParam()]["vocabulary_size"].get<std::int64_t>());
  EXPECT_EQ(tokenizer.pad_id(), expected()[GetParam()]["pad_id"].get<std::int64_t>());
}
INSTANTIATE_TEST_SUITE_P(Layouts, AgainstReference,
                         testing::Values("llama3", "llama3_merges", "qwen2", "unusual", "fallback", "clip", "clip_files", "written_byte_level", "written_clip"),
                         [](const auto& info) { return info.param; });

TEST(Tokenizer, CutTextIsWhatDidNotFit) {
  const Tokenizer llama = Tokenizer::load(kData / "llama3");
  const std::string text = "A person walks along the beach at sunset, again and again";
  const auto all = llama.encode(text, false);
  const auto padded = llama.encode_padded(text, 6);  // one special token, five of the text
  EXPECT_EQ(padded.cut_ids, Ids(all.begin() + 5, all.end()));
  EXPECT_EQ(llama.decode(Ids(all.begin(), all.begin() + 5)) + padded.cut_text, text);
  EXPECT_TRUE(llama.encode_padded(text, 100).cut_text.empty());
  EXPECT_EQ(llama.encode_padded(text, 1).ids, Ids{*llama.id("<|begin_of_text|>")});
  EXPECT_THROW(llama.encode_padded(text, 0), base::UserError);
}

TEST(Tokenizer, SettingsOfTheFolder) {
  EXPECT_EQ(Tokenizer::load(kData / "clip_files").settings().model_max_length, 77);
  EXPECT_EQ(Tokenizer::load(kData / "fallback").settings().model_max_length, std::nullopt);
  EXPECT_TRUE(Tokenizer::load(kData / "unusual").settings().pad_left);
  EXPECT_EQ(Tokenizer::load(kData / "llama3").settings().bos_token, "<|begin_of_text|>");
}

TEST(Tokenizer, LongTextTakesLittleTime) {
  const Tokenizer tokenizer = Tokenizer::load(kData / "llama3_merges");
  std::string text(200000, 'a');
  for (int i = 0; i < 2000; ++i) text += "   \n\n word";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_GT(tokenizer.encode(text).size(), 1000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Tokenizer, TextThatIsNotUtf8IsRefused) {
  const Tokenizer tokenizer = Tokenizer::load(kData / "clip");
  for (const char* text : {"a\xFF", "\xC3", "\xED\xA0\x80", "\xC0\xAF", "\xF4\x90\x80\x80"}) EXPECT_THROW(tokenizer.encode(text), base::UserError) << text;
}

// A copy of a folder whose tokenizer.json (or another file) is changed.
class Damaged : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("magicid-tokenizer-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::copy(kData / "llama3", folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void change(const char* file, const std::function<void(nlohmann::json&)>& edit) {
    std::ifstream in(folder_ / file);
    auto json = nlohmann::json::parse(in);
    in.close();
    edit(json);
    std::ofstream(folder_ / file) << json.dump();
  }
  std::string message() {
    try {
      Tokenizer::load(folder_);
    } catch (const base::UserError& error) {
      return error.what();
    }
    return "(no error)";
  }
  fs::path folder_;
};

TEST_F(Damaged, UnsupportedPartsAreNamed) {
  using testing::HasSubstr;
  const std::pair<const char*, const char*> parts[] = {
      {"normalizer", "Nmt"}, {"pre_tokenizer", "Metaspace"}, {"post_processor", "Strange"}, {"decoder", "WordPiece"}};
  for (const auto& [key, type] : parts) {
    SetUp();
    change("tokenizer.json", [&](auto& json) { json[key] = {{"type", type}}; });
    EXPECT_THAT(message(), HasSubstr(std::string("\"") + type + "\" is not supported")) << key;
    EXPECT_THAT(message(), HasSubstr("tokenizer.json"));
  }
  SetUp();
  change("tokenizer.json", [](auto& json) { json["model"]["type"] = "Unigram"; });
  EXPECT_THAT(message(), HasSubstr("\"Unigram\" is not supported"));
  SetUp();
  change("tokenizer.json", [](auto& json) { json["model"]["dropout"] = 0.1; });
  EXPECT_THAT(message(), HasSubstr("dropout"));
}

TEST_F(Damaged, PatternsWithAnotherMeaningAreRefused) {
  for (const char* pattern : {"[a&&b]", "[[:alpha:]]+", "\\p{L}{1,3}+", "a(?i)b", "(?m:a)", "\\h+", "(a", "\\p{NoSuchThing}", "(?<name>a)", "\\1"}) {
    SetUp();
    change("tokenizer.json",
           [&](auto& json) { json["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}}; });
    EXPECT_THAT(message(), testing::HasSubstr("the pattern " + std::string(pattern))) << pattern;
  }
}

TEST_F(Damaged, BrokenVocabularies) {
  using testing::HasSubstr;
  change("tokenizer.json", [](auto& json) { json["model"]["merges"].push_back({"zzz", "q"}); });
  EXPECT_THAT(message(), HasSubstr("zzz is not in the vocabulary"));
  SetUp();
  change("tokenizer.json", [](auto& json) { json["model"]["merges"].push_back("one two three"); });
  EXPECT_THAT(message(), HasSubstr("one two three"));
  SetUp();
  change("tokenizer.json", [](auto& json) { json["model"]["vocab"]["duplicate"] = 5; });
  EXPECT_THAT(message(), HasSubstr("share the id 5"));
  SetUp();
  change("tokenizer.json", [](auto& json) { json["added_tokens"][0]["id"] = 9999; });
  EXPECT_THAT(message(), HasSubstr("listed with id 9999"));
  SetUp();
  std::ofstream(folder_ / "tokenizer.json") << "version https://git-lfs.github.com/spec/v1";
  EXPECT_THAT(message(), HasSubstr("not valid JSON"));
  fs::remove(folder_ / "tokenizer.json");
  EXPECT_THAT(message(), HasSubstr("no tokenizer.json"));
  fs::remove_all(folder_);
  EXPECT_THAT(message(), HasSubstr("does not exist"));
}

TEST_F(Damaged, ConfigurationDecides) {
  change("tokenizer_config.json", [](auto& json) {
    json["add_bos_token"] = false;
    json["add_eos_token"] = true;
  });
  const Tokenizer eos_only = Tokenizer::load(folder_);
  EXPECT_EQ(eos_only.encode("").size(), 1u);
  EXPECT_EQ(eos_only.encode("").front(), eos_only.id("<|end_of_text|>"));
  SetUp();
  change("tokenizer_config.json", [](auto& json) { json["split_special_tokens"] = true; });
  EXPECT_GT(Tokenizer::load(folder_).encode("<|eot_id|>", false).size(), 1u);
  SetUp();
  change("tokenizer_config.json", [](auto& json) { json.erase("pad_token"); });
  EXPECT_THROW(Tokenizer::load(folder_).encode_padded("a", 5), base::UserError);
  SetUp();
  change("tokenizer_config.json", [](auto& json) { json["extra_special_tokens"] = {"<new>"}; });
  EXPECT_EQ(Tokenizer::load(folder_).encode("<new>", false), Ids{606});
  SetUp();
  change("tokenizer_config.json", [](auto& json) { json["padding_side"] = "middle"; });
  EXPECT_THAT(message(), testing::HasSubstr("expected left or right"));
}

}  // namespace
}  // namespace magicid::models::text
