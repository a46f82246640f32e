// Counter-based random numbers (Random123's Philox4x32-10): every number is a function of (seed, purpose, step, index), never of
// rank or call order, so that another layout of ranks draws the same noise, timesteps, pairs and prompts.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace magicid::base {

class CounterRandom {
 public:
  // `purpose` names what is drawn ("candidate-noise", "sigma", "pair-order"); different purposes never share numbers.
  CounterRandom(std::uint64_t seed, std::string_view purpose);

  // Uniform in the open interval (0,1), 53 bits.
  double uniform(std::uint64_t step, std::uint64_t index) const;
  // Uniform integer in [0, n); n > 0.
  std::uint64_t below(std::uint64_t n, std::uint64_t step, std::uint64_t index) const;
  // Standard normal numbers (Box-Muller): out[i] is the number at index first + i, so that any slice can be drawn alone.
  void normal(std::span<float> out, std::uint64_t step, std::uint64_t first = 0) const;
  // A permutation of 0..n-1 (Fisher-Yates), a function of (seed, purpose, step).
  std::vector<std::int64_t> permutation(std::int64_t n, std::uint64_t step) const;

 private:
  std::uint32_t key_[2];
};

}  // namespace magicid::base
