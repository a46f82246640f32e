// Steps, samples and replicas of a training stage as numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace magicid::training {

// Steps in which `samples` are shown, `global_batch` a step: rounded up.
std::int64_t steps_for(std::int64_t samples, std::int64_t global_batch);

// The slots of a step's global batch that one of `replicas` computes: in turn, so that no replica has more than one above another's. Replicas beyond the batch
// have none.
std::vector<std::int64_t> slots_of(std::int64_t replica, std::int64_t replicas, std::int64_t global_batch);

// Whether the adapter after `step` of `steps` updates is previewed: at the beginning, every `every` steps and at the end. every 0: never.
bool preview_is_due(std::int64_t step, std::int64_t every, std::int64_t steps);
// How often that is so, from before the first update to after the last.
std::int64_t previews_due(std::int64_t every, std::int64_t steps);

}  // namespace magicid::training
