// Which videos HunyuanVideo takes, and the shape of their latents.
#pragma once

#include <cstdint>
#include <vector>

#include "models/generator/video_size.h"
#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::models::hunyuan_video {

// [1,C,T,h,w] of the latents of such a video. Throws UserError, as Backbone::latent_shape() does, for a size that the autoencoder's ratios or the transformer's
// patch do not divide.
std::vector<std::int64_t> latent_shape(const generator::VideoSize& size, const TransformerConfig& transformer, const AutoencoderConfig& autoencoder);

}  // namespace magicid::models::hunyuan_video
