// Random weights for small text encoders, named as transformers names them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "models/nn/initial_values.h"
#include "models/text/clip_text.h"
#include "models/text/llama.h"
#include "storage/safetensors.h"

namespace magicid::models::text {

// Normal numbers of variance 1/(inputs) for matrices and 1 for embeddings, norms one, biases zero; a function of seed and name alone. fp32.
storage::NamedTensors initialize_llama(const LlamaConfig& config, const nn::InitialValues& values);  // LlamaModel
storage::NamedTensors initialize_clip_text(const ClipTextConfig& config, bool with_projection,
                                           const nn::InitialValues& values);  // CLIPTextModel(WithProjection)

// Writes config.json and model.safetensors. Throws SystemError when the disk fails.
void write_text_model(const std::filesystem::path& folder, const nlohmann::json& config, const storage::NamedTensors& tensors);

}  // namespace magicid::models::text
