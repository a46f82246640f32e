// What conditions the blocks: time, guidance and pooled text as one vector, and the refined text tokens.
//
// B samples, L text rows, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/hunyuan_video/transformer_config.h"
#include "models/nn/linear.h"

namespace magicid::models::hunyuan_video {

// Numbers of the sinusoid that the time and guidance embedders read.
inline constexpr std::int64_t kSinusoid = 256;

// Linear, SiLU, Linear.
struct EmbeddingMlp {
  nn::Linear first, second;
  at::Tensor operator()(const at::Tensor& x) const;
};

// values [B] of any type -> [B,256] in `dtype`: 128 cosines, then 128 sines, period up to 10000, computed in fp32.
at::Tensor sinusoid(const at::Tensor& values, at::ScalarType dtype);

struct ConditionEmbedder {
  EmbeddingMlp time, text, guidance;
  bool has_guidance = false;

  // timestep [B], pooled [B,pooled_projection_dim], guidance [B] or undefined -> [B,D].
  at::Tensor operator()(const at::Tensor& timestep, const at::Tensor& pooled, const at::Tensor& guidance_scale) const;
};

struct RefinerBlock {
  at::Tensor norm1_weight, norm1_bias, norm2_weight, norm2_bias;  // [D]
  nn::Linear qkv, proj, fc1, fc2, gates;
};

struct TextRefiner {
  EmbeddingMlp time, text;
  nn::Linear input;
  std::vector<RefinerBlock> blocks;

  // text states [B,L,text_embed_dim] without padded rows, timestep [B] -> [B,L,D].
  at::Tensor operator()(const at::Tensor& states, const at::Tensor& timestep, const TransformerConfig& config) const;
};

}  // namespace magicid::models::hunyuan_video
