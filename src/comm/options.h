// The section `mesh` of a configuration: how the ranks of a job are laid out and how long they wait for each other.
#pragma once

#include "comm/launch.h"
#include "comm/mesh.h"
#include "config/fields.h"

#include <cstdint>
#include <string>

namespace magicid::comm {

struct Options {
  std::string backend = "automatic";
  std::int64_t pair = 1;
  std::int64_t sequence = 1;
  double collective_timeout = 0;  // seconds; 0: MAGICID_COLLECTIVE_TIMEOUT, else 30 minutes
};
void describe(config::Fields& fields, Options& options);

// Sets the timeout (before anything waits) and makes the world. Collective over all processes.
std::unique_ptr<Communicator> make_world(const Options& options);
// The mesh over `world_size` ranks; the replicas are what pair and sequence leave. Throws UserError (Mesh::for_world).
Mesh make_mesh(const Options& options, int world_size);

}  // namespace magicid::comm
