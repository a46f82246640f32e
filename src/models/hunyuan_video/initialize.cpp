#include "models/hunyuan_video/initialize.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <span>

#include "base/random.h"
#include "models/hunyuan_video/transformer_layout.h"

namespace magicid::models::hunyuan_video {
namespace {

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

storage::NamedTensors initialize(const Shapes& shapes, const nn::InitialValues& values) {
  const auto options = at::TensorOptions(at::kFloat).device(values.seed ? c10::kCPU : c10::kMeta);
  storage::NamedTensors tensors;
  for (const auto& [name, shape] : shapes) {
    if (!values.wants(name)) continue;
    if (shape.size() == 1) {
      tensors[name] = at::full(shape, name.ends_with(".bias") ? 0.0 : 1.0, options);
      continue;
    }
    at::Tensor tensor = tensors[name] = at::empty(shape, options);
    if (!values.seed) continue;
    base::CounterRandom(*values.seed, name).normal(std::span(tensor.mutable_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())), 0);
    const double inputs = static_cast<double>(tensor.numel()) / static_cast<double>(shape[0]);
    const bool modulation = name.find("norm") != std::string::npos && name.find("linear") != std::string::npos;
    tensor.mul_((modulation ? 0.1 : 1.0) / std::sqrt(inputs));
  }
  return tensors;
}

void add_biased_linear(Shapes& shapes, const std::string& name, std::int64_t out, std::int64_t in) {
  shapes[name + ".weight"] = {out, in};
  shapes[name + ".bias"] = {out};
}

}  // namespace

Shapes transformer_parameter_shapes(const TransformerConfig& c) {
  const std::int64_t width = c.width(), sinusoid = 256;
  Shapes shapes;
  shapes["x_embedder.proj.weight"] = {width, c.in_channels, c.patch_size_t, c.patch_size, c.patch_size};
  shapes["x_embedder.proj.bias"] = {width};
  const auto embedder = [&](const std::string& name, std::int64_t in) {
    add_biased_linear(shapes, name + ".linear_1", width, in);
    add_biased_linear(shapes, name + ".linear_2", width, width);
  };
  embedder("time_text_embed.timestep_embedder", sinusoid);
  embedder("time_text_embed.text_embedder", c.pooled_projection_dim);
  if (c.guidance_embeds) embedder("time_text_embed.guidance_embedder", sinusoid);
  add_biased_linear(shapes, "context_embedder.proj_in", width, c.text_embed_dim);
  embedder("context_embedder.time_text_embed.timestep_embedder", sinusoid);
  embedder("context_embedder.time_text_embed.text_embedder", c.text_embed_dim);
  for (std::int64_t i = 0; i < c.num_refiner_layers; ++i) {
    const std::string block = "context_embedder.token_refiner.refiner_blocks." + std::to_string(i) + ".";
    for (const char* norm : {"norm1", "norm2"}) shapes[block + norm + ".weight"] = shapes[block + norm + ".bias"] = {width};
    for (const char* part : {"attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"}) add_biased_linear(shapes, block + part, width, width);
    add_biased_linear(shapes, block + "ff.net.0.proj", c.refiner_mlp_width(), width);
    add_biased_linear(shapes, block + "ff.net.2", width, c.refiner_mlp_width());
    add_biased_linear(shapes, block + "norm_out.linear", 2 * width, width);
  }
  for (const BlockLinear& linear : block_linears(c))
    for (const RowPart& part : linear.parts) add_biased_linear(shapes, part.name, part.rows, linear.in);
  if (c.qk_norm) {
    for (std::int64_t i = 0; i < c.num_layers; ++i)
      for (const char* norm : {"norm_q", "norm_k", "norm_added_q", "norm_added_k"})
        shapes["transformer_blocks." + std::to_string(i) + ".attn." + norm + ".weight"] = {c.attention_head_dim};
    for (std::int64_t i = 0; i < c.num_single_layers; ++i)
      for (const char* norm : {"norm_q", "norm_k"})
        shapes["single_transformer_blocks." + std::to_string(i) + ".attn." + norm + ".weight"] = {c.attention_head_dim};
  }
  add_biased_linear(shapes, "norm_out.linear", 2 * width, width);
  add_biased_linear(shapes, "proj_out", c.patch_numbers(c.out_channels), width);
  return shapes;
}

storage::NamedTensors initialize_transformer(const TransformerConfig& config, const nn::InitialValues& values) {
  return initialize(transformer_parameter_shapes(config), values);
}

storage::NamedTensors initialize_autoencoder(const AutoencoderConfig& config, const nn::InitialValues& values) {
  return initialize(config.parameter_shapes(), values);
}

}  // namespace magicid::models::hunyuan_video
