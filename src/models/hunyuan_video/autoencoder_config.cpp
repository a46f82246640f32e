#include "models/hunyuan_video/autoencoder_config.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "models/nn/network_config.h"

namespace magicid::models::hunyuan_video {
namespace {

using nlohmann::json;
using Shapes = std::map<std::string, std::vector<std::int64_t>>;

constexpr const char* kClass = "AutoencoderKLHunyuanVideo";
constexpr const char* kDownBlock = "HunyuanVideoDownBlock3D";
constexpr const char* kUpBlock = "HunyuanVideoUpBlock3D";

// A list of one `block` for each level.
void check_blocks(const nn::NetworkConfig& json, const char* key, std::int64_t levels, const std::string& block) {
  const auto blocks = json.texts(key);
  if (json.has(key) ? blocks != std::vector<std::string>(levels, block) : levels != 4)
    json.refuse(key, levels, " times ", block, " (block_out_channels has ", levels, " levels)");
}

void check_sizes(const AutoencoderConfig& config, const nn::NetworkConfig& json) {
  for (const std::int64_t channels : config.block_out_channels)
    if (channels % config.norm_num_groups != 0) json.refuse("block_out_channels", "a list of multiples of norm_num_groups, ", config.norm_num_groups, ",");
  if (config.temporal_compression_ratio != 4) json.refuse("temporal_compression_ratio", "4, for which alone the decoder of this architecture exists,");
  if (config.levels() < 3) json.refuse("block_out_channels", "a list of at least 3 levels, which a temporal compression of 4 needs,");
  const auto spatial = static_cast<std::uint64_t>(config.spatial_compression_ratio);
  if (!std::has_single_bit(spatial) || static_cast<std::int64_t>(std::bit_width(spatial)) - 1 > config.levels())
    json.refuse("spatial_compression_ratio", "a power of two up to 2^", config.levels(), " (one halving for each level)");
}

void add_norm(Shapes& shapes, const std::string& name, std::int64_t channels) {
  shapes[name + ".weight"] = {channels};
  shapes[name + ".bias"] = {channels};
}

void add_conv(Shapes& shapes, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel) {
  shapes[name + ".weight"] = {out, in, kernel, kernel, kernel};
  shapes[name + ".bias"] = {out};
}

void add_linear(Shapes& shapes, const std::string& name, std::int64_t width) {
  shapes[name + ".weight"] = {width, width};
  shapes[name + ".bias"] = {width};
}

void add_resnet(Shapes& shapes, const std::string& name, std::int64_t out, std::int64_t in) {
  add_norm(shapes, name + ".norm1", in);
  add_conv(shapes, name + ".conv1.conv", out, in, 3);
  add_norm(shapes, name + ".norm2", out);
  add_conv(shapes, name + ".conv2.conv", out, out, 3);
  if (in != out) add_conv(shapes, name + ".conv_shortcut.conv", out, in, 1);
}

void add_mid_block(Shapes& shapes, const std::string& name, std::int64_t channels, bool attention) {
  add_resnet(shapes, name + ".resnets.0", channels, channels);
  add_resnet(shapes, name + ".resnets.1", channels, channels);
  if (!attention) return;
  add_norm(shapes, name + ".attentions.0.group_norm", channels);
  for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"}) add_linear(shapes, name + ".attentions.0." + part, channels);
}

}  // namespace

AutoencoderConfig AutoencoderConfig::from_json(const nn::NetworkConfig& json) {
  AutoencoderConfig config;
  json.choice("_class_name", {kClass}, kClass);
  json.choice("act_fn", {"silu", "swish"}, "silu");
  config.in_channels = json.size("in_channels", config.in_channels);
  config.out_channels = json.size("out_channels", config.out_channels);
  config.latent_channels = json.size("latent_channels", config.latent_channels);
  config.block_out_channels = json.sizes("block_out_channels", config.block_out_channels);
  config.layers_per_block = json.size("layers_per_block", config.layers_per_block);
  config.norm_num_groups = json.size("norm_num_groups", config.norm_num_groups);
  config.spatial_compression_ratio = json.size("spatial_compression_ratio", config.spatial_compression_ratio);
  config.temporal_compression_ratio = json.size("temporal_compression_ratio", config.temporal_compression_ratio);
  config.mid_block_add_attention = json.boolean("mid_block_add_attention", config.mid_block_add_attention);
  config.scaling_factor = json.positive("scaling_factor", config.scaling_factor);
  check_blocks(json, "down_block_types", config.levels(), kDownBlock);
  check_blocks(json, "up_block_types", config.levels(), kUpBlock);
  check_sizes(config, json);
  return config;
}

AutoencoderConfig AutoencoderConfig::from_folder(const std::filesystem::path& folder) { return from_json(nn::NetworkConfig::open(folder / "config.json")); }

json AutoencoderConfig::to_json() const {
  return {{"_class_name", kClass},
          {"act_fn", "silu"},
          {"in_channels", in_channels},
          {"out_channels", out_channels},
          {"latent_channels", latent_channels},
          {"block_out_channels", block_out_channels},
          {"down_block_types", std::vector<std::string>(block_out_channels.size(), kDownBlock)},
          {"up_block_types", std::vector<std::string>(block_out_channels.size(), kUpBlock)},
          {"layers_per_block", layers_per_block},
          {"norm_num_groups", norm_num_groups},
          {"spatial_compression_ratio", spatial_compression_ratio},
          {"temporal_compression_ratio", temporal_compression_ratio},
          {"mid_block_add_attention", mid_block_add_attention},
          {"scaling_factor", scaling_factor}};
}

std::array<std::int64_t, 3> AutoencoderConfig::stride(std::int64_t level) const {
  const std::int64_t spatial_levels = std::bit_width(static_cast<std::uint64_t>(spatial_compression_ratio)) - 1;
  const std::int64_t temporal_levels = std::bit_width(static_cast<std::uint64_t>(temporal_compression_ratio)) - 1;
  // Space is halved on the first levels, time on the last ones before the final level.
  const std::int64_t space = level < spatial_levels ? 2 : 1;
  const std::int64_t time = level >= levels() - 1 - temporal_levels && level != levels() - 1 ? 2 : 1;
  return {time, space, space};
}

Shapes AutoencoderConfig::parameter_shapes() const {
  Shapes shapes;
  const auto sampled = [&](std::int64_t level) { return stride(level) != std::array<std::int64_t, 3>{1, 1, 1}; };
  const std::int64_t last = block_out_channels.back();

  add_conv(shapes, "encoder.conv_in.conv", block_out_channels[0], in_channels, 3);
  std::int64_t channels = block_out_channels[0];
  for (std::int64_t level = 0; level < levels(); ++level) {
    const std::string name = "encoder.down_blocks." + std::to_string(level);
    for (std::int64_t layer = 0; layer < layers_per_block; ++layer) {
      add_resnet(shapes, name + ".resnets." + std::to_string(layer), block_out_channels[level], channels);
      channels = block_out_channels[level];
    }
    if (sampled(level)) add_conv(shapes, name + ".downsamplers.0.conv.conv", channels, channels, 3);
  }
  add_mid_block(shapes, "encoder.mid_block", last, mid_block_add_attention);
  add_norm(shapes, "encoder.conv_norm_out", last);
  add_conv(shapes, "encoder.conv_out.conv", 2 * latent_channels, last, 3);
  add_conv(shapes, "quant_conv", 2 * latent_channels, 2 * latent_channels, 1);

  add_conv(shapes, "post_quant_conv", latent_channels, latent_channels, 1);
  add_conv(shapes, "decoder.conv_in.conv", last, latent_channels, 3);
  add_mid_block(shapes, "decoder.mid_block", last, mid_block_add_attention);
  channels = last;
  for (std::int64_t level = 0; level < levels(); ++level) {
    const std::string name = "decoder.up_blocks." + std::to_string(level);
    const std::int64_t out = block_out_channels[levels() - 1 - level];
    for (std::int64_t layer = 0; layer < layers_per_block + 1; ++layer) {
      add_resnet(shapes, name + ".resnets." + std::to_string(layer), out, channels);
      channels = out;
    }
    if (sampled(level)) add_conv(shapes, name + ".upsamplers.0.conv.conv", channels, channels, 3);
  }
  add_norm(shapes, "decoder.conv_norm_out", channels);
  add_conv(shapes, "decoder.conv_out.conv", out_channels, channels, 3);
  return shapes;
}

}  // namespace magicid::models::hunyuan_video
