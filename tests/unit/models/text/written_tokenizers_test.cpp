// The tokenisers that this program writes are, byte for byte, those that transformers has opened and whose ids stand in
// tests/data/tokenizers/expected.json. When the writer changes on purpose: copy the folder that the failing test names over the
// committed one, and run tests/reference/make_tokenizers.py.
#include "models/text/write_tokenizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <set>

#include "models/text/tokenizer.h"
#include "storage/atomic_file.h"

namespace magicid::models::text {
namespace {

namespace fs = std::filesystem;
const fs::path kData = fs::path(MAGICID_TEST_DATA) / "tokenizers";

std::set<std::string> file_names(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  return names;
}

void expect_same_folder(const std::string& name, const std::function<void(const fs::path&)>& write) {
  const fs::path fresh = fs::temp_directory_path() / (name + "-" + std::to_string(::getpid()));
  fs::remove_all(fresh);
  write(fresh);
  ASSERT_EQ(file_names(fresh), file_names(kData / name)) << "written to " << fresh;
  for (const auto& file : file_names(fresh)) {
    ASSERT_EQ(storage::read_text(fresh / file), storage::read_text(kData / name / file)) << file << " differs; written to " << fresh;
  }
  fs::remove_all(fresh);
}

TEST(WrittenTokenizers, ByteLevelIsTheOneThatTransformersOpened) {
  expect_same_folder("written_byte_level", [](const fs::path& folder) { write_byte_level_tokenizer(folder, common_prompt_words()); });
}

TEST(WrittenTokenizers, ClipIsTheOneThatTransformersOpened) {
  expect_same_folder("written_clip", [](const fs::path& folder) { write_clip_tokenizer(folder, common_prompt_words()); });
}

TEST(WrittenTokenizers, ClipsFilesOfBothLayoutsAgree) {
  const fs::path folder = fs::temp_directory_path() / ("written-clip-files-" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::copy(kData / "written_clip", folder);
  fs::remove(folder / "tokenizer.json");
  const Tokenizer from_json = Tokenizer::load(kData / "written_clip"), from_files = Tokenizer::load(folder);
  for (const char* text : {"A person walks", "", "caf\xC3\xA9 <|endoftext|> \xF0\x9F\x98\x80 it's 12", "Zwei  Leute\n"}) {
    EXPECT_EQ(from_json.encode(text), from_files.encode(text)) << text;
  }
  EXPECT_EQ(from_json.vocabulary_size(), from_files.vocabulary_size());
  fs::remove_all(folder);
}

TEST(WrittenTokenizers, EveryWordAskedForIsOneClipToken) {
  const Tokenizer clip = Tokenizer::load(kData / "written_clip");
  for (const auto& word : common_prompt_words()) EXPECT_EQ(clip.encode(word, false).size(), 1u) << word;
  const Tokenizer llama = Tokenizer::load(kData / "written_byte_level");
  for (const auto& word : common_prompt_words()) {
    EXPECT_EQ(llama.encode(word, false).size(), 1u) << word;
    EXPECT_EQ(llama.encode(" " + word, false).size(), 1u) << word;
  }
}

}  // namespace
}  // namespace magicid::models::text
