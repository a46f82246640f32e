// Many independent pieces of work over the ranks, from one dynamic queue.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "commands/run_context.h"
#include "diffusion/sampler.h"

namespace magicid::commands {

// Of items 0..count-1 those for which `done` is false, as rank 0 sees them; the same list on every rank. Collective.
std::vector<std::size_t> find_missing(RunContext& context, std::size_t count, const std::function<bool(std::size_t)>& done);

// Calls `work(item)` for each of `items` on whichever rank draws it. `work` must make its result durable and must not communicate. When it throws on
// one rank, the others finish what they have in hand and all throw. `total` counts the items done earlier too, for the progress bar. Collective.
void work_through(RunContext& context, const std::string& label, const std::vector<std::size_t>& items, std::size_t total, const std::function<void(std::size_t)>& work);

// The same for work that the ranks of a sequence group do together: all of them call `make(item)` at a time, then the group's leader alone keep(item, result).
// `make` is collective over the sequence group; an error of one rank in it ends the job, except base::RequeueRequest, which all of the group must throw together. `keep`
// makes the result durable and must not communicate. Collective over the world.
void work_through_together(RunContext& context, const std::string& label, const std::vector<std::size_t>& items, std::size_t total,
                           const std::function<at::Tensor(std::size_t)>& make, const std::function<void(std::size_t, const at::Tensor&)>& keep);

// A step callback that throws base::RequeueRequest once SIGTERM or SIGUSR1 arrived: finished items stay, the one in hand is made again.
void stop_when_asked(const diffusion::StepState& state);
// The same on all ranks that share a sequence, once it arrived at any of them. Collective over `ranks`' sequence group at every step.
diffusion::StepCallback stop_together_when_asked(parallel::SampleRanks& ranks);

}  // namespace magicid::commands
