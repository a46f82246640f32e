// What the causal autoencoder costs. Operations as in generator/cost.h: two for a multiplication and an addition.
#pragma once

#include <cstdint>

#include "models/generator/cost.h"
#include "models/hunyuan_video/autoencoder_config.h"

namespace magicid::models::hunyuan_video {

// Of one video in the tiles of frames that AutoencoderOptions' defaults make, no spatial tiles. The peak: three activations of a level (autoencoder_blocks.h).
// The tiles must fit the configuration (AutoencoderOptions::check).
generator::CodecCost encode_cost(const AutoencoderConfig& config, const generator::VideoSize& size, std::int64_t element);
generator::CodecCost decode_cost(const AutoencoderConfig& config, const generator::VideoSize& size, std::int64_t element);

}  // namespace magicid::models::hunyuan_video
