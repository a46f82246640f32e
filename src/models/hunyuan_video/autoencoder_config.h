// Configuration of HunyuanVideo's causal 3-d autoencoder, and what follows from it: strides, sizes, parameter shapes.
// Reference: AutoencoderKLHunyuanVideo in diffusers' autoencoder_kl_hunyuan_video.py.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace magicid::models::nn {
class NetworkConfig;
}

namespace magicid::models::hunyuan_video {

struct AutoencoderConfig {
  std::int64_t in_channels = 3, out_channels = 3, latent_channels = 16;
  std::vector<std::int64_t> block_out_channels = {128, 256, 512, 512};
  std::int64_t layers_per_block = 2;  // resnets of an encoder level; a decoder level has one more
  std::int64_t norm_num_groups = 32;
  std::int64_t spatial_compression_ratio = 8, temporal_compression_ratio = 4;
  bool mid_block_add_attention = true;
  double scaling_factor = 0.476986;  // what the transformer sees is latents * scaling_factor

  // From the contents of diffusers' vae/config.json; keys that are absent take the reference's defaults.
  // Throws UserError for another class, block type or activation, and for sizes that the reference cannot build either.
  static AutoencoderConfig from_json(const nn::NetworkConfig& json);
  // Reads `folder`/config.json.
  static AutoencoderConfig from_folder(const std::filesystem::path& folder);
  // As diffusers writes it; from_json gives the same configuration back.
  nlohmann::json to_json() const;

  std::int64_t levels() const { return static_cast<std::int64_t>(block_out_channels.size()); }
  // Stride (T,H,W) of the downsampling after encoder level `level`; the decoder's upsampling after its level of the same number has the
  // same factors. {1,1,1}: there is none.
  std::array<std::int64_t, 3> stride(std::int64_t level) const;

  // Latent frames of so many frames, ceil: 61 -> 16, 1 -> 1.
  std::int64_t latent_frames(std::int64_t frames) const { return (frames - 1) / temporal_compression_ratio + 1; }
  // Frames that so many latent frames decode to: 16 -> 61.
  std::int64_t sample_frames(std::int64_t latent_frames) const { return (latent_frames - 1) * temporal_compression_ratio + 1; }

  // Every tensor of the weight file with its shape.
  std::map<std::string, std::vector<std::int64_t>> parameter_shapes() const;
};

}  // namespace magicid::models::hunyuan_video
