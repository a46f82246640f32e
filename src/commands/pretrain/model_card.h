// The README.md of a folder of the small world's networks: what it is, how it was made and what was measured.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace magicid::commands::pretrain {

// Markdown with the front matter that model hubs read. `record` is model/pretraining.json: for each network steps, hours, seed, options, code_version and validation figures; `assessment`, where it
// is there, holds the figures of all networks together. Figures whose meaning is not known here are listed under their own names.
std::string model_card(const nlohmann::json& record);

}  // namespace magicid::commands::pretrain
