// HunyuanVideo's causal 3-d autoencoder: pixels to latents and back. Tensors are [B,C,T,H,W] (batch, channels, frames, height, width).
// Reference: AutoencoderKLHunyuanVideo in diffusers' autoencoder_kl_hunyuan_video.py, tiling included.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "models/hunyuan_video/autoencoder_config.h"
#include "models/hunyuan_video/autoencoder_tiling.h"
#include "models/nn/weights.h"
#include "storage/safetensors.h"

namespace magicid::models::hunyuan_video {

// How a video is cut into overlapping tiles. Results depend on it (on a random network strongly), so it is part of what must agree
// between encoding and decoding, and between two programs. Names and defaults are diffusers'; sizes are in pixels and frames.
struct AutoencoderOptions {
  bool use_framewise_encoding = true;  // temporal tiles above tile_sample_min_num_frames frames
  bool use_framewise_decoding = true;  // temporal tiles above tile_sample_min_num_frames / temporal compression latent frames
  bool use_tiling = false;             // spatial tiles above tile_sample_min_height or _width
  std::int64_t tile_sample_min_height = 256, tile_sample_min_width = 256, tile_sample_min_num_frames = 16;
  std::int64_t tile_sample_stride_height = 192, tile_sample_stride_width = 192, tile_sample_stride_num_frames = 12;

  // Throws UserError unless every tile and stride is a positive multiple of the compression ratio and no stride exceeds its tile.
  void check(const AutoencoderConfig& config) const;

  // The frames of a video, or latent frames, that encode and decode take at once, one tile after the other; a single tile is the whole.
  std::vector<FrameRange> encoding_tiles(const AutoencoderConfig& config, std::int64_t frames) const;
  std::vector<FrameRange> decoding_tiles(const AutoencoderConfig& config, std::int64_t latent_frames) const;
};

// The diagonal Gaussian that the encoder predicts, not yet multiplied by scaling_factor.
struct LatentDistribution {
  at::Tensor mean, logvar;  // [B,latent_channels,T',H',W']; logvar clamped to [-30, 20]

  // mean + exp(logvar / 2) * noise; noise like mean.
  at::Tensor sample(const at::Tensor& noise) const;
};

// What decode() computes again in its backward instead of keeping it until then. Every choice gives the same values and gradients to rounding.
//   none: all that autograd saves.
//   blocks: each block of the decoder keeps its input; the activations of one block live at a time. One more forward.
//   tiles: each tile keeps its latents alone, and its blocks their inputs only while its own backward runs: what lives is the share of one tile, however long
//   or large the video. Two more forwards.
enum class DecodeRecompute { none, blocks, tiles };

class Autoencoder {
 public:
  // Reads `folder`/config.json and the weights beside it. Throws UserError for a configuration or weights that do not fit.
  static Autoencoder load(const std::filesystem::path& folder, const nn::Placement& placement);
  static Autoencoder from_weights(const AutoencoderConfig& config, const nn::Weights& weights);

  const AutoencoderConfig& config() const;
  const nn::Placement& placement() const;

  // sample [B,in_channels,T,H,W] in [-1,1], any device and floating dtype -> mean and logvar on the network's device in its dtype, with
  // T' = (T-1)/4 + 1, H' = H/8, W' = W/8 at the usual ratios. As in the reference, other sizes are accepted: frames beyond 4k+1 are seen
  // by the last latent frame, and untiled heights and widths round up. Throws UserError for a tensor that is not such a sample.
  LatentDistribution encode(const at::Tensor& sample, const AutoencoderOptions& options = {}) const;

  // latents [B,latent_channels,T',H',W'], already divided by scaling_factor -> sample [B,out_channels,4(T'-1)+1,8H',8W'], about [-1,1], not clamped.
  // Device, dtype and errors as encode. Differentiable where grad mode is on, with respect to the latents and to parameters that need a gradient, `recompute`
  // says at what price in memory and time; it changes nothing where there is no graph. The graph may outlive this object.
  at::Tensor decode(const at::Tensor& latents, const AutoencoderOptions& options = {}, DecodeRecompute recompute = DecodeRecompute::none) const;

  // All parameters by their names in the weight file, sharing memory with the network: for training and saving.
  storage::NamedTensors parameters() const;

 private:
  struct Network;
  explicit Autoencoder(std::shared_ptr<const Network> network) : network_(std::move(network)) {}
  std::shared_ptr<const Network> network_;
};

}  // namespace magicid::models::hunyuan_video
