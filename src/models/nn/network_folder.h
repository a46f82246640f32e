// A network as diffusers and transformers keep it: a folder with config.json and weights in one file, or in shards with an index.
#pragma once

#include <ATen/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "models/nn/initial_values.h"
#include "storage/safetensors.h"

namespace magicid::models::nn {

struct NetworkFile {
  std::string stem = "model";  // model.safetensors, model-00001-of-00004.safetensors, model.safetensors.index.json
  at::ScalarType dtype = at::kFloat;
  std::int64_t shard_bytes = 5'000'000'000;  // a shard is at most so large, but for a tensor that is larger itself
};

// The network's tensors with these values, fp32.
using MakeTensors = std::function<storage::NamedTensors(const InitialValues& values)>;

// Writes the folder; the configuration comes last. With a seed one shard's values are in memory at a time; without one every tensor is a hole in its file,
// which reads as zeros and takes no disk. Throws SystemError when the disk fails.
void write_network_folder(const std::filesystem::path& folder, const nlohmann::json& config, const NetworkFile& file, std::optional<std::uint64_t> seed,
                          const MakeTensors& make);

}  // namespace magicid::models::nn
