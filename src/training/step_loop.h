// The one step loop, for all objectives: each replica (one rank, or several that share samples) computes its slots of the global batch,
// gradients are summed over the world and divided by the global batch, every rank makes the same AdamW update. Checkpoints, stop requests and figures are its
// business; what a step minimises is not.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "comm/mesh.h"
#include "training/checkpoint.h"
#include "training/objective.h"
#include "training/options.h"

namespace magicid::training {

// The figures of one finished step.
struct StepRecord {
  std::int64_t step = 0;                  // updates made so far, this one included
  std::map<std::string, double> metrics;  // the objective's means over the global batch, learning_rate, gradient_norm, step_seconds
};

// Makes one checkpoint durable. Runs on a thread of its own while the loop goes on: it communicates with no rank and touches nothing that changes meanwhile.
using Write = std::function<void()>;

// What the caller does at the loop's edges. All but after_step are called on rank 0 only, inside agree(): one that throws stops every rank.
struct StepHooks {
  std::function<std::optional<Checkpoint>()> load;  // the newest intact checkpoint, if any
  std::function<Write(Checkpoint)> save;            // takes a copy of the state; returns what writes it
  std::function<void(const StepRecord&)> record;    // every step
  // After every step's update, on all ranks while its checkpoint may still be being written, outside agree(): for work of many ranks between steps, previews or
  // validation. Collective where it communicates; grad mode is off.
  std::function<void(const StepRecord&)> after_step;
};

struct StepLoopResult {
  std::int64_t first_step = 0;  // where this run began: > 0 after a resume
  std::int64_t steps = 0;       // updates in all
  StepRecord last;
};

// Runs until `options.steps` updates are made. Slot s of the global batch is computed by replica s mod replicas of `mesh`; the global batch need
// not be a multiple of the replicas; replicas beyond it have nothing to do, and a warning says so. Collective over `world`, which has mesh.world_size() ranks.
// On SIGTERM or SIGUSR1 to any rank all ranks finish the step, a checkpoint is saved and RequeueRequest is thrown.
//
// A checkpoint is saved every checkpoint_every steps, at multiples of keep_checkpoints_every, at a stop request and at the end. Its write runs beside the
// next step's forward and backward and is awaited before that step's update; at a stop request and at the end, before the loop is left. So there is at most one
// write in flight, and whenever the process dies, the newest durable checkpoint is at most checkpoint_every updates behind. A write that fails
// ends the loop on every rank, with the write's error, before the next update. Before each checkpoint, and every hash_check_every steps, the parameters'
// hashes are compared over the ranks (unless hash_check_every is 0): ranks that differ end the loop (PeerError) and leave the checkpoint before.
//
// A loss or gradient that is not finite is a
// UserError with the step, before parameters change; the last checkpoint stays. Ranks agree on an objective's error, except where a replica is
// several ranks: there the others wait for the failed one inside the objective, and the error must end the job (as under comm::run_as_rank).
// Same layout: the same parameters to the bit, resumed or not. Another mesh: equal to rounding (sums in another order).
StepLoopResult run_steps(const std::string& label, const Options& options, Objective& objective, comm::Communicator& world, const comm::Mesh& mesh,
                         const StepHooks& hooks);
// All ranks are replicas.
StepLoopResult run_steps(const std::string& label, const Options& options, Objective& objective, comm::Communicator& world, const StepHooks& hooks);

}  // namespace magicid::training
