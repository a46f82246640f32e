// A stream of random choices: the n-th call of an object gives the n-th number of (seed, purpose, step).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.h"

namespace magicid::miniature {

class Dice {
 public:
  Dice(std::uint64_t seed, std::string_view purpose, std::uint64_t step = 0) : random_(seed, purpose), step_(step) {}
  double uniform(double low = 0, double high = 1) { return low + (high - low) * random_.uniform(step_, next_++); }
  // An integer in 0..n-1.
  int below(int n) { return static_cast<int>(random_.below(static_cast<std::uint64_t>(n), step_, next_++)); }
  bool chance(double probability) { return uniform() < probability; }
  std::uint64_t bits() { return random_.below(std::uint64_t{1} << 53, step_, next_++); }

 private:
  base::CounterRandom random_;
  std::uint64_t step_, next_ = 0;
};

}  // namespace magicid::miniature
