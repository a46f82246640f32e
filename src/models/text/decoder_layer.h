// One layer of a language model of LLaMA's kind, as LLaMA and Qwen2 have it: RMSNorm, grouped queries with rotary positions, gated MLP.
// B: texts, S: tokens, D: width, K: head size.
// Source: transformers' models/llama and models/qwen2_5_vl (5.24).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/nn/linear.h"
#include "models/nn/weights.h"
#include "models/text/activation.h"

namespace magicid::models::text {

struct DecoderShape {
  std::int64_t hidden_size = 0, intermediate_size = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  double rms_norm_eps = 1e-6;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  Activation hidden_act = Activation::silu;
};

// x / sqrt(mean(x^2) + eps) * weight over the last dimension: in fp32, then cast, then times the weight, an order that matters in bf16.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Turns each head by its position: the first and the second half of a head are the two coordinates. x [...,S,K]; cos and sin as broadcast to it.
at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

class DecoderLayer {
 public:
  // Takes self_attn.{q,k,v,o}_proj, mlp.{gate,up,down}_proj, input_layernorm and post_attention_layernorm.
  static DecoderLayer load(const nn::Weights& weights, const DecoderShape& shape);

  // x [B,S,D] -> [B,S,D] with causal attention. cos, sin: [S,K], or [B,1,S,K].
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) const;

 private:
  DecoderShape shape_;
  nn::Linear q_, k_, v_, o_, gate_, up_, down_;
  at::Tensor input_norm_, post_attention_norm_;  // [D]
};

}  // namespace magicid::models::text
