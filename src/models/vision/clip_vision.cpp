#include "models/vision/clip_vision.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/errors.h"
#include "models/nn/network_config.h"

namespace magicid::models::vision {
namespace {

using base::UserError;
using nn::NetworkConfig;

bool is_full_model(const NetworkConfig& config) {
  const auto classes = config.texts("architectures");
  return config.text("architecture", "") == "clip" || config.text("model_type", "") == "clip" ||
         std::find(classes.begin(), classes.end(), "CLIPModel") != classes.end();
}

bool is_vision_half(const NetworkConfig& config) {
  const auto classes = config.texts("architectures");
  return config.text("model_type", "") == "clip_vision_model" || std::find(classes.begin(), classes.end(), "CLIPVisionModelWithProjection") != classes.end();
}

ClipVision::Norm load_norm(const nn::Weights& weights, const std::string& name, std::int64_t size) {
  return {weights.take(name + ".weight", {size}), weights.take(name + ".bias", {size})};
}

ClipVision::Layer load_layer(const nn::Weights& weights, const ClipVisionConfig& config) {
  const std::int64_t d = config.hidden_size;
  ClipVision::Layer layer;
  layer.norm1 = load_norm(weights, "layer_norm1", d);
  layer.norm2 = load_norm(weights, "layer_norm2", d);
  std::vector<at::Tensor> matrices, biases;
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    const nn::Linear part = nn::Linear::load(weights, name, d, d);
    matrices.push_back(part.weight);
    biases.push_back(part.bias);
  }
  layer.qkv.weight = at::cat(matrices);
  layer.qkv.bias = at::cat(biases);
  layer.out = nn::Linear::load(weights, "self_attn.out_proj", d, d);
  layer.fc1 = nn::Linear::load(weights, "mlp.fc1", config.intermediate_size, d);
  layer.fc2 = nn::Linear::load(weights, "mlp.fc2", d, config.intermediate_size);
  return layer;
}

at::Tensor normed(const ClipVision::Norm& norm, const at::Tensor& x, double eps) { return at::layer_norm(x, norm.weight.sizes(), norm.weight, norm.bias, eps); }

at::Tensor attention(const ClipVision::Layer& layer, const at::Tensor& x, std::int64_t heads) {
  const std::int64_t n = x.size(0), tokens = x.size(1), d = x.size(2);
  const auto parts = layer.qkv(x).view({n, tokens, 3, heads, d / heads}).permute({2, 0, 3, 1, 4}).unbind(0);  // 3 of [N,heads,T,D/heads]
  const at::Tensor y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
  return layer.out(y.transpose(1, 2).reshape({n, tokens, d}));
}

at::Tensor activated(const at::Tensor& x, ClipVisionConfig::Activation activation) {
  return activation == ClipVisionConfig::Activation::gelu ? at::gelu(x) : x * at::sigmoid(x * 1.702);
}

}  // namespace

ClipVisionConfig ClipVisionConfig::from_json(const NetworkConfig& root) {
  const bool full = is_full_model(root);
  if (!full && !is_vision_half(root))
    throw UserError(root.place(),
                    ": is no CLIP model; 'architecture': 'clip', or a config.json of transformers' CLIPModel or CLIPVisionModelWithProjection was expected");
  const NetworkConfig config = full ? root.object("vision_config") : root;
  ClipVisionConfig result;
  result.hidden_size = config.size("hidden_size", result.hidden_size);
  result.intermediate_size = config.size("intermediate_size", result.intermediate_size);
  result.layers = config.size("num_hidden_layers", result.layers);
  result.heads = config.size("num_attention_heads", result.heads);
  result.image_size = config.size("image_size", result.image_size);
  result.patch_size = config.size("patch_size", result.patch_size);
  result.layer_norm_eps = config.number("layer_norm_eps", result.layer_norm_eps);
  // The full model's own figure is the one that its two projections have; vision_config repeats a default.
  result.projection_dim = root.size("projection_dim", result.projection_dim);
  if (config.size("num_channels", 3) != 3) config.refuse("num_channels", 3);
  if (result.hidden_size % result.heads)
    throw UserError(config.place(), ": hidden_size ", result.hidden_size, " is not a multiple of num_attention_heads ", result.heads);
  if (result.patch_size > result.image_size)
    throw UserError(config.place(), ": patch_size ", result.patch_size, " is larger than image_size ", result.image_size);
  if (config.choice("hidden_act", {"quick_gelu", "gelu"}, "quick_gelu") == "gelu") result.activation = Activation::gelu;
  return result;
}

ClipVision ClipVision::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const auto config = ClipVisionConfig::from_json(NetworkConfig::open(folder / "config.json"));
  const ClipPreprocessing preprocessing = ClipPreprocessing::load(folder, config.image_size);
  if (preprocessing.crop_height != config.image_size || preprocessing.crop_width != config.image_size)
    throw UserError(folder.string(), ": the preprocessing crops to ", preprocessing.crop_height, "x", preprocessing.crop_width,
                    ", but the encoder's image_size is ", config.image_size);
  ClipVision network = from_weights(nn::Weights::open_folder(folder, placement), config);
  network.preprocessing = preprocessing;
  return network;
}

ClipVision ClipVision::from_weights(const nn::Weights& weights, const ClipVisionConfig& config) {
  const nn::Weights body = weights.contains("embeddings.class_embedding") ? weights : weights.sub("vision_model.");
  const std::int64_t d = config.hidden_size, side = config.image_size / config.patch_size;
  ClipVision network;
  network.config = config;
  network.placement = weights.placement();
  network.preprocessing.shortest_edge = network.preprocessing.crop_height = network.preprocessing.crop_width = config.image_size;
  network.class_embedding = body.take("embeddings.class_embedding", {d});
  network.patch_embedding = body.take("embeddings.patch_embedding.weight", {d, 3, config.patch_size, config.patch_size});
  network.position_embedding = body.take("embeddings.position_embedding.weight", {side * side + 1, d});
  network.pre_norm = load_norm(body, "pre_layrnorm", d);  // the reference's spelling
  network.post_norm = load_norm(body, "post_layernorm", d);
  for (std::int64_t i = 0; i < config.layers; ++i) network.layers.push_back(load_layer(body.sub(base::concat("encoder.layers.", i, ".")), config));
  network.projection = nn::Linear::load(weights, "visual_projection", config.projection_dim, d, /*with_bias=*/false);
  body.ignore("embeddings.position_ids");  // a buffer in files of older versions
  for (const char* text_half : {"text_model.", "text_projection.", "logit_scale"}) weights.ignore(text_half);
  weights.finish();
  return network;
}

at::Tensor ClipVision::operator()(const at::Tensor& pixel_values) const {
  const at::AutoGradMode gradient(at::GradMode::is_enabled() && pixel_values.requires_grad());
  return embed(pixel_values);
}

at::Tensor ClipVision::embed(const at::Tensor& pixel_values) const {
  base::check_invariant(
      pixel_values.dim() == 4 && pixel_values.size(1) == 3 && pixel_values.size(2) == config.image_size && pixel_values.size(3) == config.image_size,
      "pixel values have the shape ", pixel_values.sizes(), "; [N,3,", config.image_size, ",", config.image_size, "] was expected");
  const std::int64_t n = pixel_values.size(0), d = config.hidden_size;
  if (n == 0) return at::zeros({0, config.projection_dim}, at::TensorOptions().dtype(at::kFloat).device(placement.device));
  const at::Tensor pixels = pixel_values.to(placement.device, placement.dtype);
  const at::Tensor patches = at::conv2d(pixels, patch_embedding, {}, config.patch_size).flatten(2).transpose(1, 2);
  at::Tensor x = at::cat({class_embedding.expand({n, 1, d}), patches}, 1) + position_embedding;
  x = normed(pre_norm, x, config.layer_norm_eps);
  for (const Layer& layer : layers) {
    x = x + attention(layer, normed(layer.norm1, x, config.layer_norm_eps), config.heads);
    x = x + layer.fc2(activated(layer.fc1(normed(layer.norm2, x, config.layer_norm_eps)), config.activation));
  }
  return projection(normed(post_norm, x.select(1, 0), config.layer_norm_eps)).to(at::kFloat);
}

at::Tensor ClipVision::encode_frames(const at::Tensor& frames) const {
  constexpr std::int64_t at_once = 16;  // keeps activations small beside the frames
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < frames.size(0); first += at_once)
    parts.push_back((*this)(preprocessing(frames.slice(0, first, std::min(first + at_once, frames.size(0))).to(placement.device))));
  if (parts.empty()) return at::zeros({0, config.projection_dim}, at::TensorOptions().dtype(at::kFloat).device(placement.device));
  return at::cat(parts);
}

}  // namespace magicid::models::vision
