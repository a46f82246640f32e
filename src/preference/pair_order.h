// In which order preference pairs are shown in training: functions of (seed, sample number) alone.
#pragma once

#include <cstdint>

#include "preference/pairs.h"

namespace magicid::preference {

struct ShownPair {
  PairKind kind = PairKind::identity;
  std::int64_t index = 0;  // among the pairs of its kind
  std::int64_t round = 0;  // how often it was shown before
};

// Kinds come by their share of the samples, to within one at every moment; of each kind every pair comes once a round, in a new random order for each round.
// When one kind is missing, all samples are of the other.
class PairOrder {
 public:
  // `share_dynamic` from 0 to 1. Throws InvariantError when there are no pairs.
  PairOrder(std::int64_t identity_pairs, std::int64_t dynamic_pairs, double share_dynamic, std::uint64_t seed);

  // What sample number 0, 1, 2, ... shows: with B pairs a step, sample B * step + slot.
  ShownPair at(std::int64_t sample) const;
  // The pair's number among all, identity pairs first.
  std::int64_t number_of(const ShownPair& shown) const;

 private:
  std::int64_t identity_, dynamic_;
  double share_;
  std::uint64_t seed_;
};

// Which of a pair's `noise_draws` fixed draws of noise is taken when it is shown for the round-th time (0-based): all of them in turn. noise_draws > 0.
std::int64_t noise_draw_of(std::int64_t round, std::int64_t noise_draws);

}  // namespace magicid::preference
