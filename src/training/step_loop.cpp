#include "training/step_loop.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <cmath>

#include "base/errors.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stop_signals.h"
#include "parallel/replicas.h"
#include "training/adamw.h"
#include "training/background_write.h"
#include "training/schedule.h"

namespace magicid::training {
namespace {

using comm::Communicator;

at::Tensor host_copy(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true); }

void report_resume(const std::string& label, const Options& options, const comm::Mesh& mesh, const Checkpoint& checkpoint) {
  std::string note;
  if (checkpoint.layout && !(*checkpoint.layout == mesh.shape()))
    note = base::concat("; its ranks were ", comm::Mesh(*checkpoint.layout).describe(), ", now they are ", mesh.describe(), ": results agree to rounding");
  base::log::info(base::concat(label, ": goes on after step ", checkpoint.step, " of ", options.steps, note));
  const std::int64_t position = checkpoint.step * options.global_batch;
  if (checkpoint.next_sample != 0 && checkpoint.next_sample != position)
    base::log::warning(
        base::concat(label, ": the checkpoint was made with another global_batch: the next sample was ", checkpoint.next_sample, ", now it is ", position));
}

// What the steps change and a checkpoint holds.
struct Trained {
  at::Tensor parameters;  // [N]
  AdamW optimizer;

  Trained(Objective& objective, const Options& options) : parameters(objective.parameters().detach()), optimizer(parameters, options) {}
};

// Rank 0 reads, the others receive: ranks never disagree on which file was the newest intact one. Returns the step, 0 without a checkpoint.
// Collective over world.
std::int64_t resume(const std::string& label, const Options& options, const StepHooks& hooks, Trained& trained, Communicator& world, const comm::Mesh& mesh) {
  at::Tensor& parameters = trained.parameters;
  std::optional<Checkpoint> checkpoint;
  // Asked to stop while the networks were loaded: there is nothing yet that a step would have to be finished for.
  comm::agree_unless_stopped(world, "reading the last checkpoint of " + label, [&] {
    if (world.rank() != 0 || !hooks.load) return;
    checkpoint = hooks.load();
    if (checkpoint && checkpoint->parameters.sizes() != parameters.sizes())
      throw base::UserError("the checkpoint holds ", checkpoint->parameters.numel(), " parameters, what is trained here has ", parameters.numel(),
                            ". Was its shape changed (an adapter's lora_rank or targets)?");
    if (checkpoint) report_resume(label, options, mesh, *checkpoint);
  });
  at::Tensor step = at::zeros({1}, at::kLong);
  if (checkpoint) step.fill_(checkpoint->step);
  world.broadcast(step, 0);
  const auto done = step.item<std::int64_t>();
  if (done == 0) {
    parallel::broadcast_adapter(world, parameters);
    return 0;
  }
  at::Tensor first = at::zeros_like(parameters), second = at::zeros_like(parameters);
  if (checkpoint) {
    parameters.copy_(checkpoint->parameters);
    first.copy_(checkpoint->first_moment);
    second.copy_(checkpoint->second_moment);
  }
  for (at::Tensor* tensor : {&parameters, &first, &second}) parallel::broadcast_adapter(world, *tensor);
  trained.optimizer.restore(first, second, done);
  return done;
}

}  // namespace

StepLoopResult run_steps(const std::string& label, const Options& options, Objective& objective, Communicator& world, const StepHooks& hooks) {
  return run_steps(label, options, objective, world, comm::Mesh({.replica = world.size()}), hooks);
}

StepLoopResult run_steps(const std::string& label, const Options& options, Objective& objective, Communicator& world, const comm::Mesh& mesh,
                         const StepHooks& hooks) {
  base::check_invariant(world.size() == mesh.world_size(), label, ": a mesh of ", mesh.describe(), " on ", world.size(), " ranks");
  const comm::Coordinates here = mesh.coordinates(world.rank());
  const int replicas = mesh.shape().replica;
  const bool first_of_replica = here.pair == 0 && here.sequence == 0;
  const bool leader = world.rank() == 0;
  if (leader && options.global_batch < replicas)
    base::log::warning(base::concat(label, ": global_batch is ", options.global_batch, " but ", replicas,
                                    " replicas take part: ", replicas - options.global_batch, " of them have nothing to do here"));
  const base::StopSignals signals;
  Trained trained(objective, options);
  at::Tensor& parameters = trained.parameters;
  AdamW& optimizer = trained.optimizer;
  const c10::AutoGradMode no_grad(false);
  const std::int64_t first_step = resume(label, options, hooks, trained, world, mesh);
  const auto names = objective.metric_names();

  StepLoopResult result{.first_step = first_step, .steps = first_step};
  base::Progress progress(label, options.steps, leader && first_step < options.steps, first_step);
  at::Tensor gradient = objective.gradient();
  BackgroundWrite writing;  // on rank 0
  for (std::int64_t step = first_step; step < options.steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    gradient.zero_();
    // The figures' sums, then a stop request of any rank, then a failed write of the last checkpoint: one small reduction for all.
    at::Tensor sums = at::zeros({static_cast<std::int64_t>(names.size()) + 2}, at::kDouble);
    double* sum = sums.data_ptr<double>();
    const auto accumulate = [&] {
      for (const std::int64_t slot : slots_of(here.replica, replicas, options.global_batch)) {
        const c10::AutoGradMode grad(true);
        const auto figures = objective.accumulate(step, slot, options.global_batch);
        for (std::size_t i = 0; first_of_replica && i < figures.size(); ++i) sum[i] += figures[i];
      }
      sum[names.size()] = base::StopSignals::received() != 0;
      sum[names.size() + 1] = !writing.finish();
    };
    // A rank that fails must not wait for ranks that wait for it inside the objective.
    if (replicas == world.size()) comm::agree(world, base::concat(label, " step ", step + 1), accumulate);
    else accumulate();
    world.all_reduce(sums);
    const at::Tensor total = sums.to(at::kCPU);
    const double* value = total.const_data_ptr<double>();
    if (value[names.size() + 1] > 0) comm::agree(world, base::concat("saving before ", label, " step ", step + 1), [&] { writing.rethrow(); });
    parallel::reduce_gradient(world, gradient, options.global_batch);
    const double norm = clip_by_global_norm(gradient, options.clip_norm);
    const double loss = value[0] / static_cast<double>(options.global_batch);
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw base::UserError(label, ": at step ", step + 1, " the loss is ", loss, " and the gradient norm ", norm, ". Lower learning_rate (",
                            options.learning_rate, ") or check the inputs; start again to go on from the last checkpoint.");
    const double rate = learning_rate_at(options, step);
    optimizer.update(parameters, gradient, rate);

    result.steps = step + 1;
    result.last = {.step = step + 1, .metrics = {{"learning_rate", rate}, {"gradient_norm", norm}}};
    for (std::size_t i = 0; i < names.size(); ++i) result.last.metrics[names[i]] = value[i] / static_cast<double>(options.global_batch);
    result.last.metrics["step_seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const bool stop = value[names.size()] > 0 && step + 1 < options.steps;
    const bool leave = stop || step + 1 == options.steps;
    const bool keep = options.keep_checkpoints_every > 0 && (step + 1) % options.keep_checkpoints_every == 0;
    const bool save = leave || keep || (step + 1) % options.checkpoint_every == 0;
    // Before the checkpoint is written: ranks that have drifted apart must not leave one to start from.
    if (options.hash_check_every > 0 && (save || (step + 1) % options.hash_check_every == 0))
      parallel::check_same_on_all_ranks(world, base::concat("the adapter after ", label, " step ", step + 1), parallel::hash_of(parameters));
    comm::agree(world, base::concat("saving after ", label, " step ", step + 1), [&] {
      if (!leader) return;
      if (hooks.record) hooks.record(result.last);
      if (save && hooks.save) {
        writing.start(hooks.save({.step = step + 1,
                                  .parameters = host_copy(parameters),
                                  .first_moment = host_copy(optimizer.first_moment()),
                                  .second_moment = host_copy(optimizer.second_moment()),
                                  .next_sample = (step + 1) * options.global_batch,
                                  .layout = mesh.shape(),
                                  .keep = keep}));
      }
      if (leave) writing.rethrow();
    });
    if (leader) progress.advance(1, base::concat(names[0], ' ', loss));
    if (hooks.after_step && !stop) hooks.after_step(result.last);
    if (stop)
      throw base::RequeueRequest(label, ": stopped on request after step ", step + 1, " of ", options.steps,
                                 "; a checkpoint was saved. Start the same command again to go on.");
  }
  return result;
}

}  // namespace magicid::training
