// Many independent pieces of work over the ranks, from one dynamic queue.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "commands/run_context.h"
#include "diffusion/sampler.h"

namespace magicid::commands {

// Of items 0..count-1 those for which `done` is false, as rank 0 sees them; the same list on every rank. Collective.
std::vector<std::size_t> find_missing(RunContext& context, std::size_t count, const std::function<bool(std::size_t)>& done);

// Calls `work(item)` for each of `items` on whichever rank draws it. `work` must make its result durable and must not communicate. When it throws on
// one rank, the others finish what they have in hand and all throw. `total` counts the items done earlier too, for the progress bar. Collective.
void work_through(RunContext& context, const std::string& label, const std::vector<std::size_t>& items, std::size_t total, const std::function<void(std::size_t)>& work);

// A step callback that throws base::RequeueRequest once SIGTERM or SIGUSR1 arrived: finished items stay, the one in hand is made again.
void stop_when_asked(const diffusion::StepState& state);

}  // namespace magicid::commands
