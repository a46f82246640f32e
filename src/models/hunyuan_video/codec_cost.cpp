#include "models/hunyuan_video/codec_cost.h"

#include <algorithm>
#include <array>
#include <vector>

#include "models/hunyuan_video/autoencoder.h"

namespace magicid::models::hunyuan_video {
namespace {

constexpr std::array<std::int64_t, 3> kUnitStride = {1, 1, 1};

// Follows one tile through the layers, with its size and number of channels.
class Walk {
 public:
  Walk(std::int64_t frames, std::int64_t height, std::int64_t width, std::int64_t channels) : t_(frames), h_(height), w_(width), c_(channels) {}

  void convolution(std::int64_t out, std::int64_t kernel, const std::array<std::int64_t, 3>& stride = kUnitStride) {
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

Walk encode_tile(const AutoencoderConfig& c, std::int64_t frames, std::int64_t height, std::int64_t width) {
  Walk walk(frames, height, width, c.in_channels);
  walk.convolution(c.block_out_channels.front(), 3);
  for (std::int64_t level = 0; level < c.levels(); ++level) {
    for (std::int64_t i = 0; i < c.layers_per_block; ++i) walk.resnet(c.block_out_channels[static_cast<std::size_t>(level)]);
    if (c.stride(level) != kUnitStride) walk.convolution(c.block_out_channels[static_cast<std::size_t>(level)], 3, c.stride(level));
  }
  walk.mid_block(c.mid_block_add_attention);
  walk.convolution(2 * c.latent_channels, 3);
  walk.pointwise(2 * c.latent_channels);
  return walk;
}

Walk decode_tile(const AutoencoderConfig& c, std::int64_t frames, std::int64_t height, std::int64_t width) {
  Walk walk(frames, height, width, c.latent_channels);
  walk.pointwise(c.latent_channels);
  walk.convolution(c.block_out_channels.back(), 3);
  walk.mid_block(c.mid_block_add_attention);
  for (std::int64_t level = 0; level < c.levels(); ++level) {
    const std::int64_t out = c.block_out_channels[static_cast<std::size_t>(c.levels() - 1 - level)];
    for (std::int64_t i = 0; i <= c.layers_per_block; ++i) walk.resnet(out);
    if (c.stride(level) != kUnitStride) walk.upsample(c.stride(level));
  }
  walk.convolution(c.out_channels, 3);
  return walk;
}

// `run` gives the walk of so many frames.
template <class Tile>
generator::CodecCost sum_of(const std::vector<FrameRange>& tiles, std::int64_t element, const Tile& run) {
  generator::CodecCost cost;
  for (const FrameRange& tile : tiles) {
    const Walk walk = run(tile.count);
    cost.flops += walk.flops;
    cost.peak_bytes = std::max(cost.peak_bytes, walk.peak * static_cast<double>(element));
  }
  return cost;
}

}  // namespace

generator::CodecCost encode_cost(const AutoencoderConfig& config, const generator::VideoSize& size, std::int64_t element) {
  return sum_of(AutoencoderOptions().encoding_tiles(config, size.frames), element,
                [&](std::int64_t frames) { return encode_tile(config, frames, size.height, size.width); });
}

generator::CodecCost decode_cost(const AutoencoderConfig& config, const generator::VideoSize& size, std::int64_t element) {
  const std::int64_t space = config.spatial_compression_ratio;
  return sum_of(AutoencoderOptions().decoding_tiles(config, config.latent_frames(size.frames)), element,
                [&](std::int64_t frames) { return decode_tile(config, frames, size.height / space, size.width / space); });
}

}  // namespace magicid::models::hunyuan_video
