// Sizes and options of HunyuanVideo's diffusion transformer, as diffusers writes them to transformer/config.json.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::hunyuan_video {

// The defaults are those of diffusers' HunyuanVideoTransformer3DModel, which are the sizes of the released 12.8B model.
struct TransformerConfig {
  std::int64_t in_channels = 16;
  std::int64_t out_channels = 16;
  std::int64_t num_attention_heads = 24;
  std::int64_t attention_head_dim = 128;
  std::int64_t num_layers = 20;         // double (two-stream) blocks
  std::int64_t num_single_layers = 40;  // single-stream blocks
  std::int64_t num_refiner_layers = 2;
  double mlp_ratio = 4.0;
  std::int64_t patch_size = 2;    // height and width
  std::int64_t patch_size_t = 1;  // frames
  bool qk_norm = true;            // "rms_norm", or null for none
  bool guidance_embeds = true;
  std::int64_t text_embed_dim = 4096;
  std::int64_t pooled_projection_dim = 768;
  double rope_theta = 256.0;
  std::array<std::int64_t, 3> rope_axes_dim = {16, 56, 56};  // frames, height, width; their sum is attention_head_dim

  std::int64_t width() const { return num_attention_heads * attention_head_dim; }
  // Of the double and single blocks. The text refiner's ratio is 4 whatever the configuration says.
  std::int64_t mlp_width() const { return static_cast<std::int64_t>(static_cast<double>(width()) * mlp_ratio); }
  std::int64_t refiner_mlp_width() const { return 4 * width(); }
  // Numbers in one token: (channel, frame, row, column) of a patch.
  std::int64_t patch_numbers(std::int64_t channels) const { return channels * patch_size_t * patch_size * patch_size; }

  // Absent keys take the defaults; unknown keys are accepted, since versions of diffusers add some. Throws UserError that names the file
  // and the key for wrong types, impossible sizes, and variants that this program does not compute (another class, qk_norm or
  // image_condition_type).
  static TransformerConfig from_json(const nn::NetworkConfig& json);
  static TransformerConfig from_file(const std::filesystem::path& file);
  // In diffusers' form, `_class_name` included.
  nlohmann::json to_json() const;
};

}  // namespace magicid::models::hunyuan_video
