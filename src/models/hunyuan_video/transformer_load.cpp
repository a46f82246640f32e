// Weights in diffusers' or Tencent's layout to the fused form that the transformer computes with.
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "base/errors.h"
#include "models/hunyuan_video/transformer.h"

namespace magicid::models::hunyuan_video {
namespace {

// Reads under both layouts' names; modules are asked for by both.
class Loader {
 public:
  Loader(const TransformerConfig& config, const nn::Weights& weights) : config_(config), weights_(weights), tencent_(weights.contains("img_in.proj.weight")) {}

  bool tencent() const { return tencent_; }
  std::string name(const std::string& tencent, const std::string& diffusers) const { return tencent_ ? tencent : diffusers; }

  nn::Linear linear(const std::string& tencent, const std::string& diffusers, std::int64_t out, std::int64_t in) const {
    return nn::Linear::load(weights_, name(tencent, diffusers), out, in);
  }

  nn::Linear fused(const BlockLinear& module) const {
    if (tencent_ || module.parts.size() == 1) return linear(module.name, module.parts[0].name, module.out, module.in);
    std::vector<at::Tensor> rows, biases;
    for (const auto& part : module.parts) {
      const nn::Linear linear = nn::Linear::load(weights_, part.name, part.rows, module.in);
      rows.push_back(linear.weight);
      biases.push_back(linear.bias);
    }
    return {at::cat(rows, 0), at::cat(biases, 0)};
  }

  // [2,K]: of queries and keys.
  at::Tensor qk_norm(const std::string& tencent_q, const std::string& tencent_k, const std::string& diffusers_q, const std::string& diffusers_k) const {
    if (!config_.qk_norm) return {};
    const std::int64_t k = config_.attention_head_dim;
    return at::stack({weights_.take(name(tencent_q, diffusers_q) + ".weight", {k}), weights_.take(name(tencent_k, diffusers_k) + ".weight", {k})});
  }

  EmbeddingMlp embedding(const std::string& tencent, const std::string& tencent_first, const std::string& tencent_second, const std::string& diffusers,
                         std::int64_t in) const {
    const std::int64_t width = config_.width();
    return {linear(tencent + tencent_first, diffusers + ".linear_1", width, in), linear(tencent + tencent_second, diffusers + ".linear_2", width, width)};
  }

  EmbeddingMlp time(const std::string& tencent, const std::string& diffusers) const { return embedding(tencent, ".mlp.0", ".mlp.2", diffusers, kSinusoid); }

  RefinerBlock refiner_block(std::int64_t index) const {
    const std::int64_t width = config_.width(), mlp = config_.refiner_mlp_width();
    const std::string number = std::to_string(index) + ".";
    const std::string a = "txt_in.individual_token_refiner.blocks." + number, b = "context_embedder.token_refiner.refiner_blocks." + number;
    const auto vector = [&](const std::string& key) { return weights_.take(name(a, b) + key, {width}); };
    RefinerBlock block;
    block.norm1_weight = vector("norm1.weight");
    block.norm1_bias = vector("norm1.bias");
    block.norm2_weight = vector("norm2.weight");
    block.norm2_bias = vector("norm2.bias");
    block.qkv = fused({a + "self_attn_qkv", "", width, 3 * width, false, {{b + "attn.to_q", width}, {b + "attn.to_k", width}, {b + "attn.to_v", width}}});
    block.proj = linear(a + "self_attn_proj", b + "attn.to_out.0", width, width);
    block.fc1 = linear(a + "mlp.fc1", b + "ff.net.0.proj", mlp, width);
    block.fc2 = linear(a + "mlp.fc2", b + "ff.net.2", width, mlp);
    block.gates = linear(a + "adaLN_modulation.1", b + "norm_out.linear", 2 * width, width);
    return block;
  }

 private:
  const TransformerConfig& config_;
  const nn::Weights& weights_;
  bool tencent_;
};

at::Tensor swap_halves(const at::Tensor& x) {
  const auto halves = x.chunk(2, 0);
  return at::cat({halves[1], halves[0]}, 0);
}

DoubleBlock load_double_block(const Loader& loader, const TransformerConfig& config, std::int64_t index) {
  const auto linears = double_block_linears(config, index);
  const std::string a = "double_blocks." + std::to_string(index) + ".", b = "transformer_blocks." + std::to_string(index) + ".attn.";
  const auto stream = [&](std::size_t first, const std::string& prefix, const std::string& added) {
    Stream s;
    s.mod = loader.fused(linears[first]);
    s.qkv = loader.fused(linears[first + 1]);
    s.proj = loader.fused(linears[first + 2]);
    s.fc1 = loader.fused(linears[first + 3]);
    s.fc2 = loader.fused(linears[first + 4]);
    s.qk_norm = loader.qk_norm(a + prefix + "_attn_q_norm", a + prefix + "_attn_k_norm", b + "norm_" + added + "q", b + "norm_" + added + "k");
    return s;
  };
  return {a, stream(0, "img", ""), stream(5, "txt", "added_")};
}

SingleBlock load_single_block(const Loader& loader, const TransformerConfig& config, std::int64_t index) {
  const auto linears = single_block_linears(config, index);
  const std::string a = "single_blocks." + std::to_string(index) + ".", b = "single_transformer_blocks." + std::to_string(index) + ".attn.";
  return {a, loader.fused(linears[0]), loader.fused(linears[1]), loader.fused(linears[2]),
          loader.qk_norm(a + "q_norm", a + "k_norm", b + "norm_q", b + "norm_k")};
}

}  // namespace

Transformer Transformer::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const auto config = TransformerConfig::from_file(folder / "config.json");
  return load(config, nn::Weights::open_folder(folder, placement));
}

Transformer Transformer::load(const TransformerConfig& config, const nn::Weights& weights) {
  const Loader loader(config, weights);
  const std::int64_t width = config.width();
  Transformer t;
  t.config_ = config;
  t.placement_ = weights.placement();

  const std::string image = loader.name("img_in.proj", "x_embedder.proj");
  const at::Tensor patch = weights.take(image + ".weight", {width, config.in_channels, config.patch_size_t, config.patch_size, config.patch_size});
  t.image_in_ = {patch.reshape({width, config.patch_numbers(config.in_channels)}), weights.take(image + ".bias", {width})};

  t.condition_.time = loader.time("time_in", "time_text_embed.timestep_embedder");
  t.condition_.text = loader.embedding("vector_in", ".in_layer", ".out_layer", "time_text_embed.text_embedder", config.pooled_projection_dim);
  t.condition_.has_guidance = config.guidance_embeds;
  if (config.guidance_embeds) t.condition_.guidance = loader.time("guidance_in", "time_text_embed.guidance_embedder");

  t.refiner_.input = loader.linear("txt_in.input_embedder", "context_embedder.proj_in", width, config.text_embed_dim);
  t.refiner_.time = loader.time("txt_in.t_embedder", "context_embedder.time_text_embed.timestep_embedder");
  t.refiner_.text = loader.embedding("txt_in.c_embedder", ".linear_1", ".linear_2", "context_embedder.time_text_embed.text_embedder", config.text_embed_dim);
  for (std::int64_t i = 0; i < config.num_refiner_layers; ++i) t.refiner_.blocks.push_back(loader.refiner_block(i));
  for (std::int64_t i = 0; i < config.num_layers; ++i) t.double_blocks_.push_back(load_double_block(loader, config, i));
  for (std::int64_t i = 0; i < config.num_single_layers; ++i) t.single_blocks_.push_back(load_single_block(loader, config, i));

  t.final_modulation_ = loader.linear("final_layer.adaLN_modulation.1", "norm_out.linear", 2 * width, width);
  if (!loader.tencent()) {  // diffusers: scale, shift; here: shift, scale
    t.final_modulation_.weight = swap_halves(t.final_modulation_.weight);
    t.final_modulation_.bias = swap_halves(t.final_modulation_.bias);
  }
  t.final_linear_ = loader.linear("final_layer.linear", "proj_out", config.patch_numbers(config.out_channels), width);
  weights.finish();
  return t;
}

}  // namespace magicid::models::hunyuan_video
