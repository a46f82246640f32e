#include "ranks/shared_work_scenarios.h"

#include "support/failing_pieces.h"

#include <cstdio>

namespace magicid::testing {
namespace {

FailurePlan plan_of(const std::vector<std::string>& words) {
  const std::string& piece = words.at(1);
  return {.rank = std::stoi(words.at(0)), .piece = piece == "first" ? FailsIn::first : piece == "middle" ? FailsIn::middle : FailsIn::last};
}

void make_slow_piece(comm::Communicator& world, double seconds, double step) {
  const work::Pieces pieces{.label = "slow videos", .missing = {0}, .total = 1};
  work::work_through(world, pieces, [&](std::size_t, work::Pulse& pulse) {
    for (double spent = 0; spent < seconds; spent += step) {
      std::this_thread::sleep_for(std::chrono::duration<double>(step));
      pulse.beat();
    }
    std::printf("the slow piece is made\n");
  });
}

}  // namespace

bool run_shared_work(comm::Communicator& world, const std::string& name, const std::vector<std::string>& words) {
  constexpr double other_groups_piece = 1.0;
  if (name == "shared-fails") make_failing_pieces(world, plan_of(words), other_groups_piece);
  else if (name == "preview-fails") work::finished_unless_stopped(world, [&] { make_failing_pieces(world, plan_of(words), other_groups_piece); });
  else if (name == "slow-piece") make_slow_piece(world, std::stod(words.at(0)), std::stod(words.at(1)));
  else return false;
  return true;
}

}  // namespace magicid::testing
