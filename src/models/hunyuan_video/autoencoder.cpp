#include "models/hunyuan_video/autoencoder.h"

#include <ATen/ops/clamp.h>

#include <utility>

#include "base/errors.h"
#include "models/generator/recompute.h"
#include "models/hunyuan_video/autoencoder_blocks.h"
#include "models/hunyuan_video/autoencoder_tiling.h"
#include "models/nn/conv3d.h"

namespace magicid::models::hunyuan_video {
namespace {

void check_axis(const char* tile_name, std::int64_t tile, const char* stride_name, std::int64_t stride, std::int64_t ratio) {
  for (const auto& [name, value] : {std::pair{tile_name, tile}, std::pair{stride_name, stride}})
    if (value <= 0 || value % ratio != 0)
      throw base::UserError("autoencoder option ", name, ": expected a positive multiple of the compression ratio ", ratio, ", found ", value);
  if (stride > tile)
    throw base::UserError("autoencoder option ", stride_name, ": ", stride, " would leave gaps between tiles; expected at most ", tile_name, ", which is ",
                          tile);
}

// Tiles of pixels or frames that give latents, and the other way round.
TileAxis encoding_axis(std::int64_t tile, std::int64_t stride, std::int64_t ratio) { return {tile, stride, stride / ratio, (tile - stride) / ratio}; }
TileAxis decoding_axis(std::int64_t tile, std::int64_t stride, std::int64_t ratio) { return {tile / ratio, stride / ratio, stride, tile - stride}; }

bool exceeds(const at::Tensor& x, const TileAxis& height, const TileAxis& width) { return x.size(kHeight) > height.tile || x.size(kWidth) > width.tile; }

void check_video(const at::Tensor& x, const char* what, const char* channels_name, std::int64_t channels) {
  const auto refuse = [&](const auto&... parts) {
    throw base::UserError("autoencoder: ", what, " must be a floating tensor [batch, ", channels, " (", channels_name, "), frames, height, width]; ", parts...);
  };
  if (!x.defined()) refuse("there is none");
  if (x.dim() != 5 || x.size(kChannels) != channels) refuse("its shape is ", x.sizes());
  if (x.numel() == 0) refuse("it is empty: ", x.sizes());
  if (!x.is_floating_point()) refuse("its dtype is ", c10::toString(x.scalar_type()));
}

}  // namespace

void AutoencoderOptions::check(const AutoencoderConfig& config) const {
  check_axis("tile_sample_min_height", tile_sample_min_height, "tile_sample_stride_height", tile_sample_stride_height, config.spatial_compression_ratio);
  check_axis("tile_sample_min_width", tile_sample_min_width, "tile_sample_stride_width", tile_sample_stride_width, config.spatial_compression_ratio);
  check_axis("tile_sample_min_num_frames", tile_sample_min_num_frames, "tile_sample_stride_num_frames", tile_sample_stride_num_frames,
             config.temporal_compression_ratio);
}

std::vector<FrameRange> AutoencoderOptions::encoding_tiles(const AutoencoderConfig& config, std::int64_t frames) const {
  const TileAxis axis = encoding_axis(tile_sample_min_num_frames, tile_sample_stride_num_frames, config.temporal_compression_ratio);
  if (!use_framewise_encoding || frames <= axis.tile) return {{0, frames}};
  return temporal_tiles(frames, axis);
}

std::vector<FrameRange> AutoencoderOptions::decoding_tiles(const AutoencoderConfig& config, std::int64_t latent_frames) const {
  const TileAxis axis = decoding_axis(tile_sample_min_num_frames, tile_sample_stride_num_frames, config.temporal_compression_ratio);
  if (!use_framewise_decoding || latent_frames <= axis.tile) return {{0, latent_frames}};
  return temporal_tiles(latent_frames, axis);
}

at::Tensor LatentDistribution::sample(const at::Tensor& noise) const { return logvar.mul(0.5).exp().mul(noise).add(mean); }

struct Autoencoder::Network {
  AutoencoderConfig config;
  nn::Placement placement;
  Encoder encoder;
  nn::PointwiseConv3d quant_conv, post_quant_conv;
  Decoder decoder;

  at::Tensor placed(const at::Tensor& x) const { return x.to(placement.device, placement.dtype).contiguous(nn::video_memory_format(placement.device)); }
  // One tile.
  at::Tensor decoded(const at::Tensor& z, DecodeRecompute recompute) const;
  std::vector<at::Tensor> decoding_parameters() const;
};

// The recomputed tile runs on a copy of the network's handles: a graph may outlive it.
at::Tensor Autoencoder::Network::decoded(const at::Tensor& z, DecodeRecompute recompute) const {
  if (recompute != DecodeRecompute::tiles) return decoder(post_quant_conv(placed(z)), recompute == DecodeRecompute::blocks);
  const auto again = [net = *this](std::vector<at::Tensor> inputs, generator::AttentionTape*) {
    return std::vector<at::Tensor>{net.decoded(inputs[0], DecodeRecompute::blocks)};
  };
  return generator::run_block(generator::Recompute::full, again, {z}, decoding_parameters())[0];
}

std::vector<at::Tensor> Autoencoder::Network::decoding_parameters() const {
  std::vector<at::Tensor> parameters{post_quant_conv.weight, post_quant_conv.bias};
  decoder.visit("", [&](const std::string&, const at::Tensor& parameter) { parameters.push_back(parameter); });
  return parameters;
}

Autoencoder Autoencoder::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const AutoencoderConfig config = AutoencoderConfig::from_folder(folder);
  return from_weights(config, nn::Weights::open_folder(folder, placement));
}

Autoencoder Autoencoder::from_weights(const AutoencoderConfig& config, const nn::Weights& weights) {
  auto network = std::make_shared<Network>();
  const std::int64_t latent = config.latent_channels;
  network->config = config;
  network->placement = weights.placement();
  network->encoder = Encoder::load(weights, "encoder", config);
  network->quant_conv = nn::PointwiseConv3d::load(weights, "quant_conv", 2 * latent, 2 * latent);
  network->post_quant_conv = nn::PointwiseConv3d::load(weights, "post_quant_conv", latent, latent);
  network->decoder = Decoder::load(weights, "decoder", config);
  weights.finish();
  return Autoencoder(std::move(network));
}

const AutoencoderConfig& Autoencoder::config() const { return network_->config; }
const nn::Placement& Autoencoder::placement() const { return network_->placement; }

LatentDistribution Autoencoder::encode(const at::Tensor& sample, const AutoencoderOptions& options) const {
  const Network& net = *network_;
  check_video(sample, "the sample to encode", "in_channels", net.config.in_channels);
  options.check(net.config);
  const std::int64_t space = net.config.spatial_compression_ratio, time = net.config.temporal_compression_ratio;
  const TileAxis height = encoding_axis(options.tile_sample_min_height, options.tile_sample_stride_height, space);
  const TileAxis width = encoding_axis(options.tile_sample_min_width, options.tile_sample_stride_width, space);
  const TileAxis frames = encoding_axis(options.tile_sample_min_num_frames, options.tile_sample_stride_num_frames, time);

  const TileFunction encode_directly = [&](const at::Tensor& x) { return net.quant_conv(net.encoder(net.placed(x))); };
  const TileFunction encode_frames = [&](const at::Tensor& x) {
    if (!options.use_tiling || !exceeds(x, height, width)) return encode_directly(x);
    return run_spatial_tiles(x, height, width, x.size(kHeight) / space, x.size(kWidth) / space, encode_directly);
  };
  const bool framewise = options.encoding_tiles(net.config, sample.size(kFrames)).size() > 1;
  const at::Tensor moments =
      framewise ? run_temporal_tiles(sample, frames, net.config.latent_frames(sample.size(kFrames)), encode_frames) : encode_frames(sample);

  const std::int64_t latent = net.config.latent_channels;
  return {moments.narrow(kChannels, 0, latent).contiguous(), at::clamp(moments.narrow(kChannels, latent, latent), -30.0, 20.0).contiguous()};
}

at::Tensor Autoencoder::decode(const at::Tensor& latents, const AutoencoderOptions& options, DecodeRecompute recompute) const {
  const Network& net = *network_;
  check_video(latents, "the latents to decode", "latent_channels", net.config.latent_channels);
  options.check(net.config);
  const std::int64_t space = net.config.spatial_compression_ratio, time = net.config.temporal_compression_ratio;
  const TileAxis height = decoding_axis(options.tile_sample_min_height, options.tile_sample_stride_height, space);
  const TileAxis width = decoding_axis(options.tile_sample_min_width, options.tile_sample_stride_width, space);
  const TileAxis frames = decoding_axis(options.tile_sample_min_num_frames, options.tile_sample_stride_num_frames, time);

  const TileFunction decode_directly = [&](const at::Tensor& z) { return net.decoded(z, recompute); };
  const TileFunction decode_frames = [&](const at::Tensor& z) {
    if (!options.use_tiling || !exceeds(z, height, width)) return decode_directly(z);
    return run_spatial_tiles(z, height, width, z.size(kHeight) * space, z.size(kWidth) * space, decode_directly);
  };
  const bool framewise = options.decoding_tiles(net.config, latents.size(kFrames)).size() > 1;
  const at::Tensor sample =
      framewise ? run_temporal_tiles(latents, frames, net.config.sample_frames(latents.size(kFrames)), decode_frames) : decode_frames(latents);
  return sample.contiguous();
}

storage::NamedTensors Autoencoder::parameters() const {
  storage::NamedTensors named;
  const ParameterVisitor add = [&](const std::string& name, const at::Tensor& parameter) { named[name] = parameter; };
  network_->encoder.visit("encoder", add);
  network_->decoder.visit("decoder", add);
  for (const auto& [name, layer] : {std::pair{"quant_conv", &network_->quant_conv}, std::pair{"post_quant_conv", &network_->post_quant_conv}}) {
    add(std::string(name) + ".weight", layer->weight);
    add(std::string(name) + ".bias", layer->bias);
  }
  return named;
}

}  // namespace magicid::models::hunyuan_video
