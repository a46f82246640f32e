// Reading a tokeniser's folder into the parts that Tokenizer composes.
#pragma once

#include <filesystem>

#include "models/text/added_tokens.h"
#include "models/text/bpe.h"
#include "models/text/decoder.h"
#include "models/text/normalizer.h"
#include "models/text/post_processor.h"
#include "models/text/pre_tokenizer.h"
#include "models/text/tokenizer.h"

namespace magicid::models::text {

struct TokenizerParts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens added;
  PostProcessor post_processor;
  TokenDecoder decoder;
  TokenizerSettings settings;
  bool split_special_tokens = false;  // special tokens in a text are then plain text
};

// Throws UserError naming file and key.
TokenizerParts read_tokenizer_folder(const std::filesystem::path& folder);

}  // namespace magicid::models::text
