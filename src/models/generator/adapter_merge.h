// A model's weights with an adapter in them: W + scale * B A.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "models/generator/adapter.h"
#include "models/generator/stored_linears.h"

namespace magicid::models::generator {

// Writes to the folder `out` what the denoiser's folder of `source` holds (configuration, index, weight files under their names, with their tensors' types),
// with the adapter added to the weights that it adapts. A sum is made in fp32 (fp64 for fp64 weights) and rounded to the weight's type. One tensor at a time:
// beside the mapped source file and the adapter no more than a few copies of the largest weight are in memory. config.json is written last: a folder without it
// is not whole. `metadata` becomes entries of the weight files' headers. `progress` is called after each file with the number of files; may be empty.
//
// Throws UserError when `out` holds something already or the adapter is not finite; SystemError when the disk has no room for the copy or fails.
void merge_adapter(const StoredLinears& source, const Adapter& adapter, const std::filesystem::path& out, const std::map<std::string, std::string>& metadata,
                   const std::function<void(std::size_t files)>& progress = {});

}  // namespace magicid::models::generator
