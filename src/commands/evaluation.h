// evaluation.json: figures of base, stage 1 and HPO on the same prompts and noise.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/run_context.h"

namespace magicid::commands {

// One video of the evaluation.
struct EvaluationItem {
  std::string arm;           // base | stage1 | hpo | a name of evaluate.runs
  std::int64_t prompt = 0;   // index of the template
  std::int64_t sample = 0;
  std::string text;          // the rendered prompt
  nlohmann::json description;  // all that determines its figures
  std::string key;
};

// Name of its preview below previews/; arms with the same adapter share it.
std::string preview_name(const EvaluationItem& item);

}  // namespace magicid::commands
