#include "models/hunyuan_video/transformer_config.h"

#include <nlohmann/json.hpp>

#include "models/nn/network_config.h"

namespace magicid::models::hunyuan_video {
namespace {

constexpr const char* kClass = "HunyuanVideoTransformer3DModel";

}  // namespace

TransformerConfig TransformerConfig::from_json(const nn::NetworkConfig& json) {
  json.choice("_class_name", {kClass}, kClass);
  TransformerConfig config;
  config.in_channels = json.size("in_channels", config.in_channels);
  config.out_channels = json.size("out_channels", config.in_channels);
  config.num_attention_heads = json.size("num_attention_heads", config.num_attention_heads);
  config.attention_head_dim = json.size("attention_head_dim", config.attention_head_dim);
  config.num_layers = json.size("num_layers", config.num_layers, 0);
  config.num_single_layers = json.size("num_single_layers", config.num_single_layers, 0);
  config.num_refiner_layers = json.size("num_refiner_layers", config.num_refiner_layers, 0);
  config.mlp_ratio = json.positive("mlp_ratio", config.mlp_ratio);
  config.patch_size = json.size("patch_size", config.patch_size);
  config.patch_size_t = json.size("patch_size_t", config.patch_size_t);
  config.guidance_embeds = json.boolean("guidance_embeds", config.guidance_embeds);
  config.text_embed_dim = json.size("text_embed_dim", config.text_embed_dim);
  config.pooled_projection_dim = json.size("pooled_projection_dim", config.pooled_projection_dim);
  config.rope_theta = json.positive("rope_theta", config.rope_theta);
  // null, which elsewhere stands for the default, is a value of this key: no norm.
  if (json.value().contains("qk_norm")) config.qk_norm = json.choice("qk_norm", {"rms_norm"}, "") == "rms_norm";
  if (json.has("image_condition_type")) json.refuse("image_condition_type", "an image-to-video transformer's key; null, of the text-to-video model,");
  config.rope_axes_dim = json.sizes("rope_axes_dim", config.rope_axes_dim, 0);
  std::int64_t sum = 0;
  for (const std::int64_t axis : config.rope_axes_dim) {
    if (axis % 2 != 0) json.refuse("rope_axes_dim", "three even numbers, for frames, height and width,");
    sum += axis;
  }
  if (sum != config.attention_head_dim) json.refuse("rope_axes_dim", "the sum of attention_head_dim, ", config.attention_head_dim, ",");
  if (config.mlp_width() < 1) json.refuse("mlp_ratio", "a ratio that leaves hidden units at a width of ", config.width());
  return config;
}

TransformerConfig TransformerConfig::from_file(const std::filesystem::path& file) { return from_json(nn::NetworkConfig::open(file)); }

nlohmann::json TransformerConfig::to_json() const {
  nlohmann::json json = {{"_class_name", kClass},
                         {"in_channels", in_channels},
                         {"out_channels", out_channels},
                         {"num_attention_heads", num_attention_heads},
                         {"attention_head_dim", attention_head_dim},
                         {"num_layers", num_layers},
                         {"num_single_layers", num_single_layers},
                         {"num_refiner_layers", num_refiner_layers},
                         {"mlp_ratio", mlp_ratio},
                         {"patch_size", patch_size},
                         {"patch_size_t", patch_size_t},
                         {"qk_norm", nullptr},
                         {"guidance_embeds", guidance_embeds},
                         {"text_embed_dim", text_embed_dim},
                         {"pooled_projection_dim", pooled_projection_dim},
                         {"rope_theta", rope_theta},
                         {"rope_axes_dim", rope_axes_dim},
                         {"image_condition_type", nullptr}};
  if (qk_norm) json["qk_norm"] = "rms_norm";
  return json;
}

}  // namespace magicid::models::hunyuan_video
