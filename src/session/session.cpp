#include "session/session.h"

#include <algorithm>

#include "base/log.h"
#include "comm/rank_errors.h"
#include "session/memory.h"

namespace magicid::session {
namespace {

using models::generator::Backbone;

std::string resident_name(const std::filesystem::path& folder, const models::nn::Placement& placement) {
  return base::concat(folder.string(), " in ", c10::toString(placement.dtype), " on ", placement.device.str());
}

}  // namespace

std::unique_ptr<Session> Session::open(const SessionOptions& options) {
  std::unique_ptr<Session> session(new Session);
  session->placement_ = resolve(options.device);
  session->world_ = comm::make_world(options.mesh);
  session->groups_.emplace(comm::make_groups(*session->world_, comm::make_mesh(options.mesh, session->world_->size())));
  session->pair_ranks_ = parallel::SampleRanks(*session->groups_);
  session->sequence_ranks_ = parallel::SampleRanks::of_sequence(*session->groups_);
  base::log::configure(base::log::Level::info, session->world_->rank(), session->world_->size());
  const auto nodes = session->world_->all_gather_strings(comm::node_name());
  const auto ranks_of_node = static_cast<int>(std::count(nodes.begin(), nodes.end(), comm::node_name()));
  const double share = memory_of(session->placement_, ranks_of_node) / 2;
  session->networks_.emplace(options.resident_memory > 0 ? options.resident_memory * 1e9 : share);
  return session;
}

std::shared_ptr<const models::generator::Denoiser> borrow_denoiser(Session& session, const Backbone& backbone, comm::Communicator& group) {
  std::shared_ptr<const models::generator::Denoiser> denoiser;
  comm::agree_unless_stopped(group, "reading the transformer", [&] {
    const auto folder = backbone.denoiser_folder();
    denoiser = session.networks().borrow<const models::generator::Denoiser>(
        resident_name(folder, session.placement()), [&] { return weights_in_memory(folder, session.placement().dtype); },
        [&]() -> std::shared_ptr<const models::generator::Denoiser> { return backbone.load_denoiser(session.placement()); });
  });
  return denoiser;
}

std::shared_ptr<const models::generator::Codec> borrow_codec(Session& session, const Backbone& backbone) {
  const auto folder = backbone.codec_folder();
  return session.networks().borrow<const models::generator::Codec>(
      resident_name(folder, session.placement()), [&] { return weights_in_memory(folder, session.placement().dtype); },
      [&]() -> std::shared_ptr<const models::generator::Codec> { return backbone.load_codec(session.placement()); });
}

}  // namespace magicid::session
