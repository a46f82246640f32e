#include "commands/work.h"

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

void stop_when_asked(const diffusion::StepState&) {
  if (training::StopSignals::received() != 0) throw base::RequeueRequest("generation: stopped on request; finished videos are kept. Start the same command again to go on.");
}

}  // namespace magicid::commands
