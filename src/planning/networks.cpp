#include "planning/networks.h"

namespace magicid::planning {

models::generator::EncoderSize clip_l_vision() { return {.layers = 24, .width = 1024, .kv_width = 1024, .mlp_width = 4096, .embeddings = 3 * 14 * 14 + 257}; }

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
