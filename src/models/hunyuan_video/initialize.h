// Random weights for small networks, under diffusers' names.
#pragma once

#include <cstdint>

#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/transformer_config.h"
#include "models/nn/initial_values.h"
#include "storage/safetensors.h"

namespace magicid::models::hunyuan_video {

// Every tensor of diffusers' HunyuanVideoTransformer3DModel with its shape.
std::map<std::string, std::vector<std::int64_t>> transformer_parameter_shapes(const TransformerConfig& config);

// Normal numbers of variance 1/inputs for matrices and kernels, norms one, biases zero; fp32, a function of seed and name alone. Modulations
// are a tenth of that, so that a deep random network neither dies out nor explodes.
storage::NamedTensors initialize_transformer(const TransformerConfig& config, const nn::InitialValues& values);
storage::NamedTensors initialize_autoencoder(const AutoencoderConfig& config, const nn::InitialValues& values);

}  // namespace magicid::models::hunyuan_video
