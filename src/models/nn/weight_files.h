// The safetensors files that hold a network's weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "storage/safetensors.h"

namespace magicid::models::nn {

// From every tensor's name to the file that holds it: of a folder as Weights::open_folder() finds them (sharded index or single file, or their one variant), or
// of one file. Headers only are read. Throws UserError as that function does.
using WeightFiles = std::map<std::string, storage::SafetensorsFile>;
WeightFiles find_weights(const std::filesystem::path& folder);
void add_weights(WeightFiles& files, const std::filesystem::path& file);

}  // namespace magicid::models::nn
