#include "commands/work.h"

#include <ATen/ops/empty.h>

#include <exception>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/progress.h"
#include "comm/work_queue.h"
#include "training/signals.h"

namespace magicid::commands {

std::vector<std::size_t> find_missing(RunContext& context, std::size_t count, const std::function<bool(std::size_t)>& done) {
  std::vector<std::size_t> missing;
  comm::agree(context.world(), "looking for finished work", [&] {
    if (!context.leader()) return;
    for (std::size_t i = 0; i < count; ++i)
      if (!done(i)) missing.push_back(i);
  });
  return nlohmann::json::parse(context.world().broadcast_string(nlohmann::json(missing).dump(), 0)).get<std::vector<std::size_t>>();
}

void work_through(RunContext& context, const std::string& label, const std::vector<std::size_t>& items, std::size_t total, const std::function<void(std::size_t)>& work) {
  const training::StopSignals signals;
  const auto queue = context.world().make_work_queue(static_cast<std::int64_t>(items.size()));
  comm::agree(context.world(), label, [&] {
    // Tickets are drawn in order, so the last one drawn anywhere tells how far all ranks together are.
    base::Progress progress(label, static_cast<std::int64_t>(total), context.leader(), static_cast<std::int64_t>(total - items.size()));
    try {
      while (const auto ticket = queue->next()) {
        if (training::StopSignals::received() != 0) throw base::RequeueRequest(label, ": stopped on request; finished work is kept. Start the same command again to go on.");
        work(items[static_cast<std::size_t>(*ticket)]);
        progress.set(static_cast<std::int64_t>(total - items.size()) + *ticket + 1);
      }
    } catch (...) {
      queue->close();
      throw;
    }
    progress.set(static_cast<std::int64_t>(total));
  });
}

void work_through_together(RunContext& context, const std::string& label, const std::vector<std::size_t>& items, std::size_t total,
                           const std::function<at::Tensor(std::size_t)>& make, const std::function<void(std::size_t, const at::Tensor&)>& keep) {
  comm::Communicator& sequence = *context.groups().sequence;
  if (sequence.size() == 1) {
    work_through(context, label, items, total, [&](std::size_t item) { keep(item, make(item)); });
    return;
  }
  const training::StopSignals signals;
  const bool leads = sequence.rank() == 0;
  std::unique_ptr<comm::WorkQueue> queue;
  if (leads) queue = context.groups().cross_section->make_work_queue(static_cast<std::int64_t>(items.size()));
  std::exception_ptr error;  // one that all ranks of the sequence group have
  {
    base::Progress progress(label, static_cast<std::int64_t>(total), context.leader(), static_cast<std::int64_t>(total - items.size()));
    at::Tensor drawn = at::empty({1}, at::kLong);
    while (!error) {
      drawn.fill_(leads ? queue->next().value_or(-1) : -1);
      sequence.broadcast(drawn, 0);
      const auto ticket = drawn.item<std::int64_t>();
      if (ticket < 0) break;
      const std::size_t item = items[static_cast<std::size_t>(ticket)];
      at::Tensor result;
      try {
        result = make(item);
      } catch (const base::RequeueRequest&) {
        error = std::current_exception();
        break;
      }
      try {
        comm::agree(sequence, label, [&] {
          if (leads) keep(item, result);
        });
      } catch (...) {
        error = std::current_exception();
      }
      progress.set(static_cast<std::int64_t>(total - items.size()) + ticket + 1);
    }
    if (!error) progress.set(static_cast<std::int64_t>(total));
  }
  if (queue && error) queue->close();
  comm::agree(context.world(), label, [&] {
    if (error) std::rethrow_exception(error);
  });
}

diffusion::StepCallback stop_together_when_asked(parallel::SampleRanks& ranks) {
  if (ranks.sequence_size() == 1) return stop_when_asked;
  return [&ranks](const diffusion::StepState&) {
    double asked[1] = {training::StopSignals::received() != 0 ? 1.0 : 0.0};
    ranks.sum(asked);
    if (asked[0] > 0) throw base::RequeueRequest("generation: stopped on request; finished videos are kept. Start the same command again to go on.");
  };
}

void stop_when_asked(const diffusion::StepState&) {
  if (training::StopSignals::received() != 0) throw base::RequeueRequest("generation: stopped on request; finished videos are kept. Start the same command again to go on.");
}

}  // namespace magicid::commands
