// A small Qwen2.5-VL with random weights, for tests and first steps.
#pragma once

#include <cstdint>
#include <filesystem>

#include "models/qwen2_5_vl/config.h"
#include "storage/safetensors.h"

namespace magicid::models::qwen2_5_vl {

// Under transformers' names of today: normal numbers of variance 1/(inputs) for matrices, norms one, biases zero; a function of seed and name alone. fp32.
storage::NamedTensors initialize(const QwenVlConfig& config, std::uint64_t seed);

// config.json, model.safetensors, preprocessor_config.json and a tokeniser that knows the words of yes/no questions and of ratings. Throws SystemError when the
// disk fails.
void write_random_network(const std::filesystem::path& folder, std::uint64_t seed);

}  // namespace magicid::models::qwen2_5_vl
