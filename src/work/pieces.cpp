#include "work/pieces.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/progress.h"
#include "base/stop_signals.h"
#include "comm/rank_errors.h"
#include "comm/work_queue.h"
#include "work/patience.h"

namespace magicid::work {
namespace {

// Tickets are drawn in order, so the last one drawn anywhere tells how far all ranks together are.
class PieceProgress {
 public:
  PieceProgress(const comm::Communicator& world, const Pieces& pieces)
      : total_(static_cast<std::int64_t>(pieces.total)),
        earlier_(total_ - static_cast<std::int64_t>(pieces.missing.size())),
        bar_(pieces.label, total_, world.rank() == 0, earlier_) {}

  // Other ranks may still fail with an earlier ticket: the last piece counts only when all ranks have agreed.
  void made(std::int64_t ticket) { bar_.set(std::min(earlier_ + ticket + 1, total_ - 1)); }
  void all_made() { bar_.set(total_); }

 private:
  std::int64_t total_, earlier_;
  base::Progress bar_;
};

std::int64_t count_of(const Pieces& pieces) { return static_cast<std::int64_t>(pieces.missing.size()); }

}  // namespace

std::vector<std::size_t> find_missing(comm::Communicator& world, std::size_t count, const std::function<bool(std::size_t)>& done) {
  std::vector<std::size_t> missing;
  agree_with_patience(world, "looking for finished work", [&](Pulse& pulse) {
    if (world.rank() != 0) return;
    for (std::size_t i = 0; i < count; ++i) {
      pulse.beat();
      if (!done(i)) missing.push_back(i);
    }
  });
  return nlohmann::json::parse(world.broadcast_string(nlohmann::json(missing).dump(), 0)).get<std::vector<std::size_t>>();
}

void work_through(comm::Communicator& world, const Pieces& pieces, const std::function<void(std::size_t, Pulse&)>& work) {
  const base::StopSignals signals;
  const auto queue = world.make_work_queue(count_of(pieces));
  Pulse pulse(pieces.label, *queue);
  PieceProgress progress(world, pieces);
  agree_with_patience(world, pieces.label, *queue, [&] {
    while (const auto ticket = queue->next()) {
      if (base::StopSignals::received() != 0) throw_stopped(pieces.label);
      work(pieces.missing[static_cast<std::size_t>(*ticket)], pulse);
      progress.made(*ticket);
    }
  });
  progress.all_made();
}

void work_through_together(const Ranks& ranks, const Pieces& pieces, const std::function<at::Tensor(std::size_t, Pulse&)>& make,
                           const std::function<void(std::size_t, const at::Tensor&)>& keep) {
  comm::Communicator& sequence = ranks.sequence;
  if (sequence.size() == 1) {
    work_through(ranks.world, pieces, [&](std::size_t piece, Pulse& pulse) { keep(piece, make(piece, pulse)); });
    return;
  }
  const base::StopSignals signals;
  // Over all ranks, though only the leaders draw: the others wait in it too, for as long as work is under way anywhere.
  const auto queue = ranks.world.make_work_queue(count_of(pieces));
  Pulse pulse(pieces.label, *queue, &sequence);
  PieceProgress progress(ranks.world, pieces);
  std::exception_ptr error;  // one that all ranks of the sequence group have
  while (!error) {
    const auto ticket = comm::next_for_group(queue.get(), sequence);
    if (!ticket) break;
    pulse.beat();
    const std::size_t piece = pieces.missing[static_cast<std::size_t>(*ticket)];
    try {
      const at::Tensor result = make(piece, pulse);
      comm::agree(sequence, pieces.label, [&] {
        if (sequence.rank() == 0) keep(piece, result);
      });
      progress.made(*ticket);
    } catch (const base::RequeueRequest&) {
      error = std::current_exception();
    } catch (...) {
      // The others of the group may wait in a collective for this rank: its error has to get out.
      if (comm::agreed_ranks(std::current_exception()) < sequence.size()) throw;
      error = std::current_exception();
    }
  }
  agree_with_patience(ranks.world, pieces.label, *queue, [&] {
    if (error) std::rethrow_exception(error);
  });
  progress.all_made();
}

bool finished_unless_stopped(comm::Communicator& world, const std::function<void()>& work) {
  std::exception_ptr error;
  bool stopped = false;
  try {
    work();
  } catch (const base::RequeueRequest&) {
    stopped = true;
    error = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  // An error that ranks do not share must end the job at once. One that they share may be a failure on some and a stop request on the others.
  if (error && !stopped && comm::agreed_ranks(error) < world.size()) std::rethrow_exception(error);
  if (!error) return true;
  for (const auto& rank : world.all_gather_strings(stopped ? "stopped" : "failed"))
    if (rank == "failed") std::rethrow_exception(error);
  return false;
}

}  // namespace magicid::work
