// What a process holds as long as it lives: its ranks and their layout, its device, and the networks in its memory. Runs and people come and go in it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "comm/mesh.h"
#include "comm/options.h"
#include "models/generator/backbone.h"
#include "models/nn/weights.h"
#include "parallel/sample_ranks.h"
#include "session/devices.h"
#include "session/resident_networks.h"

namespace magicid::session {

struct SessionOptions {
  comm::Options mesh;
  DeviceChoice device;
  double resident_memory = 0;  // GB that networks may take in a rank's memory; 0: half of the device's
};

class Session {
 public:
  // Joins the ranks, lays them out and names them in the log. Throws UserError for a layout that the number of ranks does not allow, or a device that is not
  // there. Collective over all processes of the job.
  static std::unique_ptr<Session> open(const SessionOptions& options);

  // All ranks; host tensors and, on GPUs, device tensors.
  comm::Communicator& world() { return *world_; }
  bool leader() const { return world_->rank() == 0; }
  // This rank's group of those that share a video's tokens.
  comm::Communicator& sequence() { return *groups_->sequence; }
  // How the ranks are laid out. For work without pairs (generation, reconstruction) the pair axis counts as replicas.
  const comm::Mesh& mesh() const { return groups_->mesh; }
  comm::Mesh mesh_without_pairs() const { return comm::Mesh::for_world(world_->size(), 1, mesh().shape().sequence); }
  parallel::SampleRanks& pair_ranks() { return pair_ranks_; }
  parallel::SampleRanks& sequence_ranks() { return sequence_ranks_; }

  const models::nn::Placement& placement() const { return placement_; }
  ResidentNetworks& networks() { return *networks_; }

 private:
  Session() = default;

  std::unique_ptr<comm::Communicator> world_;
  std::optional<comm::MeshGroups> groups_;
  parallel::SampleRanks pair_ranks_, sequence_ranks_;
  models::nn::Placement placement_;
  std::optional<ResidentNetworks> networks_;
};

// The denoiser of a backbone, read by every rank of `group` that has it not in memory; an error of one is told by all, with its rank and node. Collective over
// `group`.
std::shared_ptr<const models::generator::Denoiser> borrow_denoiser(Session& session, const models::generator::Backbone& backbone, comm::Communicator& group);

// Its codec, for this rank. Not collective.
std::shared_ptr<const models::generator::Codec> borrow_codec(Session& session, const models::generator::Backbone& backbone);

}  // namespace magicid::session
