// The transformer's double (two-stream) and single blocks.
//
// B samples, Sv video tokens, St text tokens, D width, K head size. `activated` is SiLU(conditioning vector) [B,D], the same for all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>

#include "models/generator/adapter.h"
#include "models/generator/joint_attention.h"
#include "models/hunyuan_video/transformer_layout.h"
#include "models/hunyuan_video/transformer_rotary.h"
#include "models/nn/linear.h"

namespace magicid::models::hunyuan_video {

// LayerNorm without affine (eps 1e-6), times 1 + scale, plus shift. x [B,S,D]; shift, scale [B,D].
at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale);
// residual + gate * branch; over `residual` when grad mode is off. gate [B,D].
at::Tensor gated_sum(at::Tensor residual, const at::Tensor& gate, const at::Tensor& branch);

struct StreamLora {
  const nn::LoraLayer *mod = nullptr, *qkv = nullptr, *proj = nullptr, *fc1 = nullptr, *fc2 = nullptr;
};

struct Stream {
  nn::Linear mod, qkv, proj, fc1, fc2;
  at::Tensor qk_norm;  // [2,K] or undefined
};

// What all blocks of one forward share. `adapter` may be null; `rotary` holds the angles of this rank's video tokens.
struct BlockContext {
  const TransformerConfig& config;
  const generator::Adapter* adapter;
  RotaryTable rotary;
  generator::JointAttention& attention;
  generator::TokenCounts whole;   // tokens of the whole sequence
  std::int64_t video_tokens = 0;  // Sv: video tokens of this rank
};

struct DoubleBlock {
  std::string name;  // "double_blocks.0."
  Stream video, text;

  // video [B,Sv,D], text [B,St,D] -> the same; both may be overwritten when grad mode is off. `tape` may be null.
  std::pair<at::Tensor, at::Tensor> operator()(at::Tensor video_x, at::Tensor text_x, const at::Tensor& activated, const BlockContext& context,
                                               generator::AttentionTape* tape = nullptr) const;
};

struct SingleBlock {
  std::string name;  // "single_blocks.0."
  nn::Linear modulation, linear1, linear2;
  at::Tensor qk_norm;

  // x [B,Sv+St,D], video first; may be overwritten when grad mode is off. `tape` may be null.
  at::Tensor operator()(at::Tensor x, const at::Tensor& activated, const BlockContext& context, generator::AttentionTape* tape = nullptr) const;
};

}  // namespace magicid::models::hunyuan_video
