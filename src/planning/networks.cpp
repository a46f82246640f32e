#include "planning/networks.h"

#include <algorithm>
#include <array>

namespace magicid::planning {
namespace {

namespace hv = models::hunyuan_video;
constexpr std::array<std::int64_t, 3> kNoStride = {1, 1, 1};

// Follows one tile through the layers, with its size and number of channels.
class Walk {
 public:
  Walk(std::int64_t frames, std::int64_t height, std::int64_t width, std::int64_t channels) : t_(frames), h_(height), w_(width), c_(channels) {}

  void convolution(std::int64_t out, std::int64_t kernel, const std::array<std::int64_t, 3>& stride = kNoStride) {
    const double in_numbers = numbers();
    // One frame meets the sum of the kernel's temporal taps (nn::CausalConv3d).
    const std::int64_t taps = kernel * kernel * (t_ == 1 ? 1 : kernel);
    t_ = (t_ - 1) / stride[0] + 1;
    h_ = (h_ - 1) / stride[1] + 1;
    w_ = (w_ - 1) / stride[2] + 1;
    const double positions = static_cast<double>(t_ * h_ * w_);
    flops += 2 * positions * static_cast<double>(taps * c_ * out);
    c_ = out;
    alive(in_numbers + numbers());
  }

  // x stays for the sum, its normalised copy, the padded input; then the second convolution's.
  void resnet(std::int64_t out) {
    const std::int64_t in = c_;
    const double x = numbers();
    alive(3 * x);
    convolution(out, 3);
    alive(x + 3 * numbers());
    convolution(out, 3);
    if (in != out) {
      flops += 2 * static_cast<double>(t_ * h_ * w_ * in * out);
      alive(x + 2 * numbers());
    }
  }

  void mid_block(bool attention) {
    resnet(c_);
    if (attention) {
      const double frame = static_cast<double>(h_ * w_), width = static_cast<double>(c_), tokens = frame * static_cast<double>(t_);
      flops += 4 * 2 * tokens * width * width;
      for (std::int64_t i = 1; i <= t_; ++i) flops += 4 * frame * frame * static_cast<double>(i) * width;
      // Where no fused kernel takes so wide a head, scores of at most 2^28 numbers are made at once (twice: before and after the softmax).
      alive(6 * numbers() + 2 * std::min(268435456.0, frame * tokens));
    }
    resnet(c_);
  }

  void upsample(const std::array<std::int64_t, 3>& factor) {
    const double x = numbers();
    t_ = 1 + (t_ - 1) * factor[0];
    h_ *= factor[1];
    w_ *= factor[2];
    alive(x + numbers());
    convolution(c_, 3);
  }

  void pointwise(std::int64_t out) {
    flops += 2 * static_cast<double>(t_ * h_ * w_ * c_ * out);
    c_ = out;
  }

  double flops = 0, peak = 0;

 private:
  double numbers() const { return static_cast<double>(t_ * h_ * w_ * c_); }
  void alive(double numbers) { peak = std::max(peak, numbers); }
  std::int64_t t_, h_, w_, c_;
};

Walk encode_tile(const hv::AutoencoderConfig& c, std::int64_t frames, std::int64_t height, std::int64_t width) {
  Walk walk(frames, height, width, c.in_channels);
  walk.convolution(c.block_out_channels.front(), 3);
  for (std::int64_t level = 0; level < c.levels(); ++level) {
    for (std::int64_t i = 0; i < c.layers_per_block; ++i) walk.resnet(c.block_out_channels[static_cast<std::size_t>(level)]);
    if (c.stride(level) != kNoStride) walk.convolution(c.block_out_channels[static_cast<std::size_t>(level)], 3, c.stride(level));
  }
  walk.mid_block(c.mid_block_add_attention);
  walk.convolution(2 * c.latent_channels, 3);
  walk.pointwise(2 * c.latent_channels);
  return walk;
}

Walk decode_tile(const hv::AutoencoderConfig& c, std::int64_t frames, std::int64_t height, std::int64_t width) {
  Walk walk(frames, height, width, c.latent_channels);
  walk.pointwise(c.latent_channels);
  walk.convolution(c.block_out_channels.back(), 3);
  walk.mid_block(c.mid_block_add_attention);
  for (std::int64_t level = 0; level < c.levels(); ++level) {
    const std::int64_t out = c.block_out_channels[static_cast<std::size_t>(c.levels() - 1 - level)];
    for (std::int64_t i = 0; i <= c.layers_per_block; ++i) walk.resnet(out);
    if (c.stride(level) != kNoStride) walk.upsample(c.stride(level));
  }
  walk.convolution(c.out_channels, 3);
  return walk;
}

// As models/hunyuan_video/autoencoder_tiling.cpp cuts frames: `tile` + 1 at a time, and none of a single frame at the end.
template <class Tile>
AutoencoderCost in_tiles(std::int64_t frames, std::int64_t tile, std::int64_t stride, std::int64_t element, const Tile& run) {
  AutoencoderCost cost;
  const auto add = [&](std::int64_t count) {
    const Walk walk = run(count);
    cost.flops += walk.flops;
    cost.peak_bytes = std::max(cost.peak_bytes, walk.peak * static_cast<double>(element));
  };
  if (frames <= tile) {
    add(frames);
    return cost;
  }
  for (std::int64_t first = 0; first < frames; first += stride) {
    const std::int64_t count = std::min(tile + 1, frames - first);
    if (first > 0 && count == 1) break;
    add(count);
  }
  return cost;
}

constexpr std::int64_t kTileFrames = 16, kTileStride = 12;  // AutoencoderOptions

}  // namespace

AutoencoderCost encode_cost(const hv::AutoencoderConfig& config, const VideoSize& size, std::int64_t element) {
  return in_tiles(size.frames, kTileFrames, kTileStride, element, [&](std::int64_t frames) { return encode_tile(config, frames, size.height, size.width); });
}

AutoencoderCost decode_cost(const hv::AutoencoderConfig& config, const VideoSize& size, std::int64_t element) {
  const std::int64_t time = config.temporal_compression_ratio, space = config.spatial_compression_ratio;
  return in_tiles(config.latent_frames(size.frames), kTileFrames / time, kTileStride / time, element,
                  [&](std::int64_t frames) { return decode_tile(config, frames, size.height / space, size.width / space); });
}

std::int64_t autoencoder_parameters(const hv::AutoencoderConfig& config) {
  std::int64_t count = 0;
  for (const auto& [name, shape] : config.parameter_shapes()) {
    std::int64_t numbers = 1;
    for (const auto size : shape) numbers *= size;
    count += numbers;
  }
  return count;
}

double EncoderSize::flops(std::int64_t tokens) const {
  const double n = static_cast<double>(tokens), w = static_cast<double>(width);
  const double linears = 2 * n * (2 * w * w + 2 * w * static_cast<double>(kv_width) + static_cast<double>(mlp_products) * w * static_cast<double>(mlp_width));
  return static_cast<double>(layers) * (linears + 4 * n * n * w);
}

double EncoderSize::parameters() const {
  const double w = static_cast<double>(width);
  return static_cast<double>(layers) *
             (2 * w * w + 2 * w * static_cast<double>(kv_width) + static_cast<double>(mlp_products) * w * static_cast<double>(mlp_width)) +
         static_cast<double>(embeddings) * w;
}

EncoderSize llama3_8b_30_layers() { return {.layers = 30, .width = 4096, .kv_width = 1024, .mlp_width = 14336, .mlp_products = 3, .embeddings = 128320}; }
EncoderSize clip_l_text() { return {.layers = 12, .width = 768, .kv_width = 768, .mlp_width = 3072, .embeddings = 49408 + 77}; }
EncoderSize clip_l_vision() { return {.layers = 24, .width = 1024, .kv_width = 1024, .mlp_width = 4096, .embeddings = 3 * 14 * 14 + 257}; }

double iresnet_flops(const std::vector<std::int64_t>& blocks) {
  double flops = 2.0 * 112 * 112 * 9 * 3 * 64;
  std::int64_t side = 112, in = 64, out = 64;
  for (const auto count : blocks) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t after = i == 0 ? side / 2 : side;
      flops += 2.0 * 9 * static_cast<double>(side * side * in * out) + 2.0 * 9 * static_cast<double>(after * after * out * out);
      if (i == 0) flops += 2.0 * static_cast<double>(after * after * in * out);
      side = after;
      in = out;
    }
    out *= 2;
  }
  return flops + 2.0 * static_cast<double>(side * side * in) * 512;
}

double raft_flops(bool large, std::int64_t height, std::int64_t width, std::int64_t updates) {
  const double pixels = static_cast<double>(height * width), positions = pixels / 64;
  const double once = large ? 407712 : 18756, update = large ? 97448 : 27370, channels = large ? 256 : 128;
  return pixels * (once + update * static_cast<double>(updates)) + 2 * positions * positions * channels;
}

double raft_correlation_bytes(std::int64_t height, std::int64_t width) {
  const double positions = static_cast<double>(height * width) / 64;
  return 4 * positions * positions * (1 + 1.0 / 4 + 1.0 / 16 + 1.0 / 64);
}

}  // namespace magicid::planning
