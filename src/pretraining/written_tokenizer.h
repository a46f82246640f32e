// A tokeniser before its folder is written: training needs its ids on every rank, the folder is rank 0's and comes last.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/errors.h"
#include "models/text/tokenizer.h"

namespace magicid::pretraining {

struct WrittenTokenizer {
  std::int64_t size = 0;  // of the vocabulary
  models::text::Tokenizer tokenizer;

  // `write` writes a tokeniser's files into a folder and returns the number of tokens; they are read back and removed.
  explicit WrittenTokenizer(const std::function<std::int64_t(const std::filesystem::path&)>& write) : WrittenTokenizer(write, temporary()) {}

 private:
  WrittenTokenizer(const std::function<std::int64_t(const std::filesystem::path&)>& write, const std::filesystem::path& folder)
      : size(write(folder)), tokenizer(models::text::Tokenizer::load(folder)) {
    std::filesystem::remove_all(folder);
  }

  static std::filesystem::path temporary() {
    std::string name = (std::filesystem::temp_directory_path() / "magicid-tokenizer-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw base::SystemError(name, ": no temporary folder for a tokeniser: ", base::errno_text(errno));
    return name;
  }
};

}  // namespace magicid::pretraining
