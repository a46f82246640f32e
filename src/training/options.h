// Options that every training stage shares.
#pragma once

#include <cstdint>
#include <string>

#include "config/fields.h"

namespace magicid::training {

struct Options {
  std::int64_t steps = 1000;
  std::int64_t global_batch = 1;  // samples a step over all ranks
  double learning_rate = 1e-4;
  double weight_decay = 1e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double clip_norm = 1.0;  // 0: no clipping
  std::int64_t warmup_steps = 0;
  std::string schedule = "constant";  // constant | linear | cosine, down to 0 at `steps`
  std::int64_t decay_steps = 0;       // the last so many steps fall, the learning rate is constant before them; 0: all after the warmup
  std::int64_t checkpoint_every = 100;
  std::int64_t keep_checkpoints_every = 0;  // 0: only the newest ones stay
  std::int64_t hash_check_every = 50;       // and before each checkpoint; 0: never
};

// All but `steps`, which each stage names in its own way (steps, pairs seen). Stages set their own defaults before describing.
void describe(config::Fields& fields, Options& options);

// The learning rate at `step` (0-based).
double learning_rate_at(const Options& options, std::int64_t step);

}  // namespace magicid::training
