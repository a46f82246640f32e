#include "models/text/decoder_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rsqrt.h>

#include "models/text/attention.h"

namespace magicid::models::text {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  return weight * (wide * at::rsqrt(wide.pow(2).mean(-1, true) + eps)).to(x.scalar_type());
}

at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const std::int64_t half = x.size(-1) / 2;
  const at::Tensor turned = at::cat({x.slice(-1, half).neg(), x.slice(-1, 0, half)}, -1);
  return x * cos + turned * sin;
}

DecoderLayer DecoderLayer::load(const nn::Weights& weights, const DecoderShape& shape) {
  const std::int64_t d = shape.hidden_size, attention = shape.num_attention_heads * shape.head_dim, shared = shape.num_key_value_heads * shape.head_dim;
  DecoderLayer layer;
  layer.shape_ = shape;
  layer.q_ = nn::Linear::load(weights, "self_attn.q_proj", attention, d, shape.qkv_bias);
  layer.k_ = nn::Linear::load(weights, "self_attn.k_proj", shared, d, shape.qkv_bias);
  layer.v_ = nn::Linear::load(weights, "self_attn.v_proj", shared, d, shape.qkv_bias);
  layer.o_ = nn::Linear::load(weights, "self_attn.o_proj", d, attention, shape.output_bias);
  layer.gate_ = nn::Linear::load(weights, "mlp.gate_proj", shape.intermediate_size, d, shape.mlp_bias);
  layer.up_ = nn::Linear::load(weights, "mlp.up_proj", shape.intermediate_size, d, shape.mlp_bias);
  layer.down_ = nn::Linear::load(weights, "mlp.down_proj", d, shape.intermediate_size, shape.mlp_bias);
  layer.input_norm_ = weights.take("input_layernorm.weight", {d});
  layer.post_attention_norm_ = weights.take("post_attention_layernorm.weight", {d});
  return layer;
}

at::Tensor DecoderLayer::operator()(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) const {
  const auto heads = [&](const at::Tensor& y, std::int64_t count) { return y.view({y.size(0), y.size(1), count, shape_.head_dim}).transpose(1, 2); };
  const at::Tensor normed = rms_norm(x, input_norm_, shape_.rms_norm_eps);
  const at::Tensor q = rotate_halves(heads(q_(normed), shape_.num_attention_heads), cos, sin);
  const at::Tensor k = rotate_halves(heads(k_(normed), shape_.num_key_value_heads), cos, sin);
  const at::Tensor h = x + o_(causal_attention(q, k, heads(v_(normed), shape_.num_key_value_heads)));
  const at::Tensor again = rms_norm(h, post_attention_norm_, shape_.rms_norm_eps);
  return h + down_(activate(gate_(again), shape_.hidden_act) * up_(again));
}

}  // namespace magicid::models::text
