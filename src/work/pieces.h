// Many independent pieces of work over the ranks, from one dynamic queue. What a piece is, only the caller knows.
//
// How a failure ends: a rank that fails by itself closes the queue, the others finish what they have in hand, and all throw one report. A rank that fails in
// the middle of a piece that several ranks make together leaves the others of its group in a collective that never ends; nothing can be agreed on then, and its
// error ends the job at once, with its own message and exit code.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "work/pulse.h"

namespace magicid::work {

// The ranks of a job as shared work sees them; both must outlive its use.
struct Ranks {
  comm::Communicator& world;
  comm::Communicator& sequence;  // those that make one piece together; of size 1 where each rank makes its own
};

// Of pieces 0..count-1 those for which `done` is false, as rank 0 sees them; the same list on every rank. Collective over `world`.
std::vector<std::size_t> find_missing(comm::Communicator& world, std::size_t count, const std::function<bool(std::size_t)>& done);

// What is shared out: `missing` pieces of `total`, those done earlier included, which the progress bar counts too. `label` names the work in messages.
struct Pieces {
  std::string label;
  std::vector<std::size_t> missing;
  std::size_t total = 0;
};

// Calls `work(piece, pulse)` for each missing piece on whichever rank draws it. `work` must make its result durable and must not communicate. When it throws on
// one rank, the others finish what they have in hand and all throw. Collective over `world`.
void work_through(comm::Communicator& world, const Pieces& pieces, const std::function<void(std::size_t, Pulse&)>& work);

// The same for work that the ranks of a sequence group do together: all of them call `make(piece, pulse)` at a time, then the group's leader alone keep(piece,
// result). `make` is collective over the sequence group; an error of one rank in it ends the job, except one that all of the group throw together:
// base::RequeueRequest, or what comm::agree() over the group threw. `keep` makes the result durable, must not communicate, and should be short, for the others
// of the group wait: what takes long is work for a queue of its own. Collective over `ranks.world`.
void work_through_together(const Ranks& ranks, const Pieces& pieces, const std::function<at::Tensor(std::size_t, Pulse&)>& make,
                           const std::function<void(std::size_t, const at::Tensor&)>& keep);

// Runs `work`, which shares out work over `world`. False when the job was asked to stop in between and no rank failed: what was finished stays. An error of any
// rank is thrown on all, or on this rank at once where the others do not share it. Collective over `world`.
bool finished_unless_stopped(comm::Communicator& world, const std::function<void()>& work);

}  // namespace magicid::work
