// Ways in which a job of several ranks ends; job_end_test starts them. Usage: rank_scenarios NAME [WORD...]
#include "base/stop_signals.h"
#include "comm/communicator.h"
#include "comm/launch.h"
#include "comm/work_queue.h"
#include "ranks/shared_work_scenarios.h"

#include <ATen/ops/zeros.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <thread>
#include <vector>

using namespace magicid;
using Clock = std::chrono::steady_clock;

namespace {

double milliseconds_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

// Rank 0 stays outside MPI until it sees that the others have drawn everything; a queue that needed rank 0's help would never get there.
int draw_while_rank_0_computes(comm::Communicator& world) {
  // All ranks of this job have one parent on this node.
  const auto folder = std::filesystem::temp_directory_path() / ("magicid_queue_" + std::to_string(getppid()));
  std::filesystem::create_directories(folder);
  bool all_drawn = true;
  {
    auto queue = world.make_work_queue(200);
    const auto start = Clock::now();
    if (world.rank() == 0) {
      all_drawn = false;
      for (volatile double sum = 0; !all_drawn && milliseconds_since(start) < 30000;) {
        for (int i = 0; i < 1'000'000; ++i) sum = sum + 1;
        all_drawn = std::distance(std::filesystem::directory_iterator(folder), {}) == world.size() - 1;
      }
    } else {
      double slowest = 0;
      int drawn = 0;
      for (auto before = Clock::now(); queue->next(); before = Clock::now()) {
        slowest = std::max(slowest, milliseconds_since(before));
        ++drawn;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      std::printf("rank %d drew %d tickets in %.0f ms, slowest draw %.2f ms\n", world.rank(), drawn, milliseconds_since(start), slowest);
      std::fflush(stdout);
      std::ofstream(folder / std::to_string(world.rank())) << drawn;
    }
  }
  world.barrier();
  if (world.rank() == 0) std::filesystem::remove_all(folder);
  if (!all_drawn) std::puts("the others could not draw while rank 0 computed");
  return all_drawn ? 0 : 1;
}

int run(const std::string& name, const std::vector<std::string>& words) {
  auto world = comm::make_world();
  const int rank = world->rank(), last = world->size() - 1;
  if (name == "local") {
    std::printf("backend %s, %d ranks\n", world->backend().c_str(), world->size());
  } else if (name == "well") {
    world->barrier();
  } else if (name == "dies-alone") {
    if (rank == last) throw base::SystemError("only this rank fails");
    world->barrier();
  } else if (name == "dies-while-others-compute") {
    if (rank == last) throw base::UserError("only this rank fails");
    std::this_thread::sleep_for(std::chrono::minutes(10));
  } else if (name == "agreed") {
    comm::agree(*world, "load", [&] {
      if (rank == last) throw base::UserError("bad value");
    });
  } else if (name == "agreed-late") {
    try {
      comm::agree(*world, "save", [&] { throw base::RequeueRequest("checkpoint written"); });
    } catch (...) {
      if (rank == 0) std::this_thread::sleep_for(std::chrono::seconds(5));  // longer than a lone failure's grace
      if (rank == 0) std::puts("rank 0 closed its files");
      throw;
    }
  } else if (name == "same-error") {
    throw base::UserError("config.yaml, line 3: unknown key \"betta\"");
  } else if (name == "fails-after-the-others") {
    world->barrier();
    if (rank == 0) throw base::SystemError("report could not be written");
  } else if (name == "never-arrives") {
    if (rank == last) std::this_thread::sleep_for(std::chrono::minutes(10));
    at::Tensor tensor = at::zeros({1000});
    world->all_reduce(tensor);
  } else if (name == "killed") {
    if (rank == last) std::raise(SIGKILL);
    world->barrier();
  } else if (name == "thrown-on-a-thread") {
    std::thread([] { throw std::bad_alloc(); }).join();
  } else if (name == "stopped-while-it-loads") {
    // One rank hears of it while all load: none is left behind, and what is held is given back in order.
    if (rank == last) std::raise(SIGTERM);
    comm::agree_unless_stopped(*world, "loading the network", [&] { base::stop_if_asked("loading the network"); });
  } else if (name == "group") {
    const auto group = world->split(rank / 2, 0);
    comm::agree(*group, "keep", [&] {
      if (rank == last) throw base::SystemError("disk full");
    });
  } else if (name == "queue") {
    return draw_while_rank_0_computes(*world);
  } else if (!magicid::testing::run_shared_work(*world, name, words)) {
    throw base::UserError("unknown scenario ", name);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  // Shorter than the program's own where many jobs end this way.
  const double grace_seconds = name.ends_with("-fails") ? 1 : 3;
  return comm::run_as_rank(
      argc, argv, [&](int count, char** arguments) { return run(name, {arguments + std::min(count, 2), arguments + count}); }, grace_seconds);
}
