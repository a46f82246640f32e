// Milliseconds from asking for a ticket to having it, while rank 0 computes outside MPI. Ranks on one node use shared memory, which hides a queue
// that needs rank 0's help; switch it off to see what ranks on several nodes see:
//   launch/mpirun -n 3 --mca btl tcp,self build/cpu/bin/work_queue_latency [TICKETS [PAUSE_MS]]
// Prints one JSON line.
#include "base/errors.h"
#include "comm/communicator.h"
#include "comm/launch.h"
#include "comm/work_queue.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

using namespace magicid;
using Clock = std::chrono::steady_clock;

namespace {

double milliseconds_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

int run(std::int64_t tickets, int pause_ms) {
  auto world = comm::make_world(comm::Backend::mpi);
  if (world->size() < 2) throw base::UserError("start at least 2 ranks: rank 0 computes, the others draw");
  std::vector<double> waits;
  {
    auto queue = world->make_work_queue(tickets);
    if (world->rank() == 0) {
      // Long enough that every draw falls into it.
      const double seconds = 1.0 + 1e-3 * static_cast<double>(tickets) * (pause_ms + 5) / (world->size() - 1);
      const at::Tensor matrix = at::ones({512, 512});
      for (const auto start = Clock::now(); milliseconds_since(start) < 1000 * seconds;) at::matmul(matrix, matrix);
    } else {
      for (;;) {
        const auto before = Clock::now();
        const auto ticket = queue->next();
        waits.push_back(milliseconds_since(before));
        if (!ticket) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      }
    }
  }
  at::Tensor mine = at::empty({static_cast<std::int64_t>(waits.size())}, at::kDouble);
  if (!waits.empty()) std::memcpy(mine.mutable_data_ptr(), waits.data(), waits.size() * sizeof(double));
  const at::Tensor gathered = world->all_gather(mine);
  if (world->rank() != 0) return 0;
  std::vector<double> all(gathered.const_data_ptr<double>(), gathered.const_data_ptr<double>() + gathered.numel());
  std::sort(all.begin(), all.end());
  const auto quantile = [&](double q) { return all[static_cast<std::size_t>(q * static_cast<double>(all.size() - 1))]; };
  std::printf("{\"ranks\": %d, \"draws\": %zu, \"median_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n", world->size(), all.size(),
              quantile(0.5), quantile(0.9), quantile(0.99), all.back());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return comm::run_as_rank(
      argc, argv, [](int count, char** arguments) { return run(count > 1 ? std::atoll(arguments[1]) : 400, count > 2 ? std::atoi(arguments[2]) : 5); });
}
