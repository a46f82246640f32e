// Normalisation and rotary position embedding of queries and keys, in one pass over memory.
//
// B samples, S tokens, H heads, K numbers a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "models/generator/joint_attention.h"
#include "models/hunyuan_video/transformer_config.h"

namespace magicid::models::hunyuan_video {

// Angles of the interleaved pairs (0,1), (2,3), ...; both [S,K/2] in fp32 as in the reference.
struct RotaryTable {
  at::Tensor cos, sin;
};

// For tokens `range` of a grid of (frames, rows, columns) patches in this order, positions from 0 (diffusers' HunyuanVideoRotaryPosEmbed).
RotaryTable rotary_table(const TransformerConfig& config, const std::array<std::int64_t, 3>& grid, generator::TokenRange range, c10::Device device);

// qk [B,S,2,H,K] (any strides with contiguous K): queries and keys of one stream. Each head's vector x becomes
// rotate(x / sqrt(mean(x^2) + 1e-6) * weight), computed in at least fp32 and rounded once. `weight` [2,K] (queries, keys), or undefined for
// no normalisation. `rotary` covers the first `rotated_tokens` tokens; the others (text) are not rotated.
// With grad mode off the result is written over qk. Differentiable (once) in qk; the weights are frozen.
at::Tensor normalize_and_rotate(at::Tensor qk, const at::Tensor& weight, const RotaryTable& rotary, std::int64_t rotated_tokens);

}  // namespace magicid::models::hunyuan_video
