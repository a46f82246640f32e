#include "training/schedule.h"

namespace magicid::training {

std::int64_t steps_for(std::int64_t samples, std::int64_t global_batch) { return (samples + global_batch - 1) / global_batch; }

std::vector<std::int64_t> slots_of(std::int64_t replica, std::int64_t replicas, std::int64_t global_batch) {
  std::vector<std::int64_t> slots;
  for (std::int64_t slot = replica; slot < global_batch; slot += replicas) slots.push_back(slot);
  return slots;
}

bool preview_is_due(std::int64_t step, std::int64_t every, std::int64_t steps) { return every > 0 && (step % every == 0 || step == steps); }

std::int64_t previews_due(std::int64_t every, std::int64_t steps) {
  std::int64_t times = 0;
  for (std::int64_t step = 0; step <= steps; ++step) times += preview_is_due(step, every, steps);
  return times;
}

}  // namespace magicid::training
