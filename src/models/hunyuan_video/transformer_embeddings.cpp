#include "models/hunyuan_video/transformer_embeddings.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/silu.h>

#include <cmath>

#include "models/generator/attention_kernel.h"

namespace magicid::models::hunyuan_video {

at::Tensor EmbeddingMlp::operator()(const at::Tensor& x) const { return second(at::silu(first(x))); }

at::Tensor sinusoid(const at::Tensor& values, at::ScalarType dtype) {
  constexpr std::int64_t half = kSinusoid / 2;
  const at::Tensor exponent = at::arange(half, at::TensorOptions(at::kFloat).device(values.device())) * -std::log(10000.0) / half;
  // A frequency off by one unit in the last place turns an angle of 1000 by 6e-5, and processors' own exp() differ by that much in float32.
  const at::Tensor frequencies = exponent.to(at::kDouble).exp().to(at::kFloat);
  const at::Tensor angles = values.to(at::kFloat).unsqueeze(1) * frequencies.unsqueeze(0);
  return at::cat({angles.cos(), angles.sin()}, 1).to(dtype);
}

at::Tensor ConditionEmbedder::operator()(const at::Tensor& timestep, const at::Tensor& pooled, const at::Tensor& guidance_scale) const {
  const auto dtype = pooled.scalar_type();
  at::Tensor vector = time(sinusoid(timestep, dtype));
  if (has_guidance) vector = vector + guidance(sinusoid(guidance_scale, dtype));
  return vector + text(pooled);
}

at::Tensor TextRefiner::operator()(const at::Tensor& states, const at::Tensor& timestep, const TransformerConfig& config) const {
  const auto dtype = states.scalar_type();
  const std::int64_t batch = states.size(0), rows = states.size(1), width = config.width();
  // The reference multiplies by an fp32 mask, so that its mean is in fp32 whatever the model's dtype.
  const at::Tensor mean = states.to(dtype == at::kDouble ? at::kDouble : at::kFloat).mean(1).to(dtype);
  const at::Tensor activated = at::silu(time(sinusoid(timestep, dtype)) + text(mean));
  at::Tensor x = input(states);
  for (const auto& block : blocks) {
    const auto gates = block.gates(activated).unsqueeze(1).chunk(2, 2);
    const auto qkv = block.qkv(at::layer_norm(x, {width}, block.norm1_weight, block.norm1_bias, 1e-6))
                         .view({batch, rows, 3, config.num_attention_heads, config.attention_head_dim})
                         .unbind(2);
    const at::Tensor attended = generator::attention(qkv[0], qkv[1], qkv[2]).reshape({batch, rows, width});
    x = at::addcmul(x, block.proj(attended), gates[0]);
    const at::Tensor hidden = at::silu(block.fc1(at::layer_norm(x, {width}, block.norm2_weight, block.norm2_bias, 1e-6)));
    x = at::addcmul(x, block.fc2(hidden), gates[1]);
  }
  return x;
}

}  // namespace magicid::models::hunyuan_video
