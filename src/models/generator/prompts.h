// The text encoders of a backbone, and its tokenisers alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/generator/condition.h"

namespace magicid::models::generator {

// How prompts are read; a backbone without a template of its own refuses one.
struct PromptOptions {
  std::string template_file;      // JSON {"template", "crop_start"}; empty: the backbone's own
  std::int64_t max_length = 256;  // prompt tokens kept after the template is cropped
};

struct EncodedPrompt {
  Condition condition;                 // on the encoders' device
  std::optional<std::string> warning;  // one line for the log when part of the prompt was cut, showing that part
};

class Prompts {
 public:
  virtual ~Prompts() = default;

  // Throws UserError for text that is not UTF-8 or of which nothing is left. Without autograd.
  virtual EncodedPrompt encode(const std::string& prompt) const = 0;
};

class PromptLimits {
 public:
  virtual ~PromptLimits() = default;

  // The encoders that do not read the first part of a prompt to its end, each with its limit in words; empty when all do. For a word that must not be lost:
  // `beginning` ends with it.
  virtual std::vector<std::string> within(const std::string& beginning) const = 0;
};

}  // namespace magicid::models::generator
