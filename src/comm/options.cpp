#include "comm/options.h"

#include "comm/watchdog.h"

#include <algorithm>
#include <chrono>

namespace magicid::comm {

void describe(config::Fields& fields, Options& options) {
  fields.choice("backend", options.backend, {"automatic", "local", "mpi", "nccl"},
                {.help = "how ranks talk: automatic is local for one process, else nccl where there are GPUs, else mpi", .fingerprint = false});
  fields.integer(
      "pair", options.pair,
      {.help =
           "ranks over which one preference pair is spread: 1, or 2 (winner and loser on different ranks); other stages than optimize count them as replicas",
       .minimum = 1,
       .maximum = 2,
       .fingerprint = false});
  fields.integer("sequence", options.sequence,
                 {.help = "ranks that share the tokens of one sample, in generation and training", .minimum = 1, .maximum = 65536, .fingerprint = false});
  fields.number("collective_timeout", options.collective_timeout,
                {.help = "seconds that ranks wait for each other before the job is ended; 0: from MAGICID_COLLECTIVE_TIMEOUT, else 1800",
                 .minimum = 0,
                 .maximum = 1e9,
                 .fingerprint = false});
}

std::unique_ptr<Communicator> make_world(const Options& options) {
  if (options.collective_timeout > 0)
    set_collective_timeout(std::chrono::milliseconds(std::max<std::int64_t>(1, static_cast<std::int64_t>(options.collective_timeout * 1000))));
  return make_world(backend_from_name(options.backend));
}

Mesh make_mesh(const Options& options, int world_size) {
  return Mesh::for_world(world_size, static_cast<int>(options.pair), static_cast<int>(options.sequence));
}

}  // namespace magicid::comm
