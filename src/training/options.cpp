#include "training/options.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace magicid::training {

void describe(config::Fields& fields, Options& options) {
  fields.integer("global_batch", options.global_batch, {.help = "samples a step, over all ranks together", .minimum = 1});
  fields.number("learning_rate", options.learning_rate, {.help = "peak learning rate of AdamW", .above = 0});
  fields.number("weight_decay", options.weight_decay, {.help = "decoupled weight decay", .minimum = 0});
  fields.number("beta1", options.beta1, {.help = "decay of AdamW's first moment", .minimum = 0, .maximum = 0.999999});
  fields.number("beta2", options.beta2, {.help = "decay of AdamW's second moment", .minimum = 0, .maximum = 0.999999});
  fields.number("epsilon", options.epsilon, {.help = "AdamW's epsilon", .above = 0});
  fields.number("clip_norm", options.clip_norm, {.help = "clip the gradient to this global norm; 0 does not clip", .minimum = 0});
  fields.integer("warmup_steps", options.warmup_steps, {.help = "steps over which the learning rate rises linearly", .minimum = 0});
  fields.choice("schedule", options.schedule, {"constant", "linear", "cosine"},
                {.help = "learning rate after the warmup; linear and cosine fall to 0 at the last step"});
  fields.integer("decay_steps", options.decay_steps,
                 {.help = "linear and cosine: the last so many steps fall, constant before; 0: all steps after the warmup", .minimum = 0});
  fields.integer("checkpoint_every", options.checkpoint_every, {.help = "steps between checkpoints", .minimum = 1, .fingerprint = false});
  fields.integer("keep_checkpoints_every", options.keep_checkpoints_every,
                 {.help = "checkpoints of every so many steps are kept for ever, beside the two newest; 0: none", .minimum = 0, .fingerprint = false});
  fields.integer("hash_check_every", options.hash_check_every,
                 {.help = "steps between comparisons of the adapter's hash over ranks, beside those before each checkpoint; 0: never",
                  .minimum = 0,
                  .fingerprint = false});
}

double learning_rate_at(const Options& options, std::int64_t step) {
  if (step < options.warmup_steps) return options.learning_rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
  const std::int64_t falling = std::max<std::int64_t>(1, options.steps - options.warmup_steps);
  const double length = static_cast<double>(options.decay_steps > 0 ? std::min(options.decay_steps, falling) : falling);
  const double done = std::max(0.0, (static_cast<double>(step - options.steps) + length) / length);
  if (options.schedule == "linear") return options.learning_rate * (1 - done);
  if (options.schedule == "cosine") return options.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * done));
  return options.learning_rate;
}

}  // namespace magicid::training
