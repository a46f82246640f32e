// What the other networks cost: the autoencoder, the text encoders, the reward networks. Operations as in cost.h: two for a multiplication and an addition.
#pragma once

#include <cstdint>
#include <vector>

#include "models/hunyuan_video/autoencoder_config.h"
#include "planning/cost.h"

namespace magicid::planning {

// Of one video through the causal autoencoder in tiles of frames as diffusers makes them (models/hunyuan_video/autoencoder.h's defaults, no spatial tiles).
struct AutoencoderCost {
  double flops = 0;       // convolutions, attention and its Linears: equal to what is executed
  double peak_bytes = 0;  // most that is alive at once, without weights: three activations of a level (autoencoder_blocks.h)
};
AutoencoderCost encode_cost(const models::hunyuan_video::AutoencoderConfig& config, const VideoSize& size, std::int64_t element);
AutoencoderCost decode_cost(const models::hunyuan_video::AutoencoderConfig& config, const VideoSize& size, std::int64_t element);
std::int64_t autoencoder_parameters(const models::hunyuan_video::AutoencoderConfig& config);

// A transformer that reads text or patches: `layers` of attention (keys and values of `kv_width`) and an MLP of `mlp_products` matrices (3: gated).
struct EncoderSize {
  std::int64_t layers = 0, width = 0, kv_width = 0, mlp_width = 0, mlp_products = 2, embeddings = 0;
  double flops(std::int64_t tokens) const;
  double parameters() const;  // norms and biases left out: below a thousandth
};
EncoderSize llama3_8b_30_layers();  // transformers' LlamaConfig of HunyuanVideo's text_encoder; the last two layers are not computed
EncoderSize clip_l_text();          // openai/clip-vit-large-patch14, text_config
EncoderSize clip_l_vision();        // the same, vision_config: 257 tokens at 224 x 224

// ArcFace's iresnet (Deng et al. 2019, arXiv:1801.07698, and insightface's iresnet.py) at 112 x 112; {3, 13, 30, 3} is iresnet100.
double iresnet_flops(const std::vector<std::int64_t>& blocks);

// torchvision's RAFT for one pair of frames. Of `height` x `width` pixels: the encoders and each update are proportional to the pixels, the correlation
// of all pairs of positions at 1/8 resolution to their square. The factors were counted with torch.utils.flop_counter on torchvision 0.26
// (tests/reference/count_raft.py).
double raft_flops(bool large, std::int64_t height, std::int64_t width, std::int64_t updates);
// The four levels of correlations of one pair in fp32.
double raft_correlation_bytes(std::int64_t height, std::int64_t width);

}  // namespace magicid::planning
