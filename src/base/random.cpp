#include "base/random.h"

#include <Random123/philox.h>
#include <xxhash.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace magicid::base {
namespace {

// Two words of counter for the step, two for the block of numbers inside it.
r123::Philox4x32::ctr_type block(const std::uint32_t (&key)[2], std::uint64_t step, std::uint64_t index) {
  r123::Philox4x32::ctr_type counter = {
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}};
  r123::Philox4x32::key_type philox_key = {{key[0], key[1]}};
  return r123::Philox4x32()(counter, philox_key);
}

double open_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = ((static_cast<std::uint64_t>(high) << 32) | low) >> 11;
  return (static_cast<double>(bits) + 0.5) * 0x1p-53;
}

}  // namespace

CounterRandom::CounterRandom(std::uint64_t seed, std::string_view purpose) {
  const std::uint64_t mixed = XXH3_64bits_withSeed(purpose.data(), purpose.size(), seed);
  key_[0] = static_cast<std::uint32_t>(mixed);
  key_[1] = static_cast<std::uint32_t>(mixed >> 32);
}

double CounterRandom::uniform(std::uint64_t step, std::uint64_t index) const {
  const auto words = block(key_, step, index);
  return open_unit(words[0], words[1]);
}

std::uint64_t CounterRandom::below(std::uint64_t n, std::uint64_t step, std::uint64_t index) const {
  const auto words = block(key_, step, index);
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits) * n) >> 64);
}

void CounterRandom::normal(std::span<float> out, std::uint64_t step, std::uint64_t first) const {
  // One block yields two pairs; number i lies in block i / 4 at lane i % 4.
  const std::uint64_t end = first + out.size();
  for (std::uint64_t b = first / 4; b * 4 < end; ++b) {
    const auto words = block(key_, step, b);
    float lanes[4];
    for (int pair = 0; pair < 2; ++pair) {
      const double u = (static_cast<double>(words[2 * pair]) + 0.5) * 0x1p-32;
      const double v = (static_cast<double>(words[2 * pair + 1]) + 0.5) * 0x1p-32;
      const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * v;
      lanes[2 * pair] = static_cast<float>(radius * std::cos(angle));
      lanes[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
    for (int lane = 0; lane < 4; ++lane) {
      const std::uint64_t i = b * 4 + lane;
      if (i >= first && i < end) out[i - first] = lanes[lane];
    }
  }
}

std::vector<std::int64_t> CounterRandom::permutation(std::int64_t n, std::uint64_t step) const {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[below(static_cast<std::uint64_t>(i) + 1, step, static_cast<std::uint64_t>(i))]);
  return order;
}

}  // namespace magicid::base
