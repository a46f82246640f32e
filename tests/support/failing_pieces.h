// Pieces that two ranks make together, of which one fails on one rank between two collectives: for tests with ranks as threads and under mpirun.
#pragma once

#include "base/errors.h"
#include "comm/mesh.h"
#include "work/pieces.h"

#include <ATen/ops/ones.h>

#include <chrono>
#include <string>
#include <thread>

namespace magicid::testing {

enum class FailsIn { first, middle, last, none };

struct FailurePlan {
  int rank = 0;                    // of the world
  FailsIn piece = FailsIn::first;  // of the failing rank's group; `last`: the last of all
  bool while_kept = false;         // by the leader alone, after the piece was made
};

inline constexpr std::size_t failing_pieces = 7;

// Shares out seven pieces over `world` in groups of two ranks. The groups without the failing rank spend `seconds` on each piece, so that the failing group
// draws all the others. Collective.
inline void make_failing_pieces(comm::Communicator& world, const FailurePlan& plan, double seconds) {
  const auto sequence = world.split(world.rank() / 2, world.rank());
  const bool slow = world.rank() / 2 != plan.rank / 2;
  std::size_t begun = 0;  // pieces of this rank's group, the one in hand included
  const auto fail = [&](std::size_t piece, bool keeping) {
    const bool here = plan.piece == FailsIn::first    ? begun == 1
                      : plan.piece == FailsIn::middle ? begun == 3
                                                      : plan.piece == FailsIn::last && piece + 1 == failing_pieces;
    if (here && world.rank() == plan.rank && keeping == plan.while_kept) throw base::SystemError("piece ", piece, ": this rank's memory is full");
  };
  work::Pieces pieces{.label = "videos", .missing = {}, .total = failing_pieces};
  for (std::size_t i = 0; i < failing_pieces; ++i) pieces.missing.push_back(i);
  work::work_through_together(
      {world, *sequence}, pieces,
      [&](std::size_t piece, work::Pulse& pulse) {
        ++begun;
        at::Tensor sum = at::ones({1});
        sequence->all_reduce(sum);
        pulse.beat_or_stop();
        if (slow) std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        fail(piece, false);
        sequence->all_reduce(sum);
        return sum;
      },
      [&](std::size_t piece, const at::Tensor&) { fail(piece, true); });
}

}  // namespace magicid::testing
