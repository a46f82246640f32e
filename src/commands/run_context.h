// What every stage works with: the configuration, the ranks, the run directory, the pipeline folder; and the frame around a stage.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mesh.h"
#include "commands/configuration.h"
#include "commands/identities.h"
#include "generation/pipeline.h"
#include "models/nn/weights.h"
#include "parallel/sample_ranks.h"
#include "run_directory/run_directory.h"
#include "work/pieces.h"

namespace magicid::commands {

struct RunArguments {
  std::string configuration;           // YAML file
  std::vector<std::string> overrides;  // --set key=value
  bool accept_other_model = false;
};

class RunContext {
 public:
  // Reads the configuration, joins the ranks, opens the run directory. Collective over all processes of the job.
  static std::unique_ptr<RunContext> open(const RunArguments& arguments);

  const Configuration& config() const { return configuration_; }
  const run_directory::Layout& layout() const { return layout_; }
  const generation::PipelineFolder& pipeline() const { return *pipeline_; }
  const models::nn::Placement& placement() const { return placement_; }
  // Read once a process by rank 0; the same on every rank.
  const ModelIdentity& model() const { return model_; }
  std::uint64_t seed() const { return static_cast<std::uint64_t>(configuration_.seed); }

  // All ranks; host tensors and, on GPUs, device tensors.
  comm::Communicator& world() { return *world_; }
  bool leader() const { return world_->rank() == 0; }
  // How the ranks are laid out, and this rank's groups. For stages without pairs (generation, reconstruction) the pair axis counts as replicas.
  const comm::Mesh& mesh() const { return groups_->mesh; }
  comm::Mesh mesh_without_pairs() const { return comm::Mesh::for_world(world_->size(), 1, mesh().shape().sequence); }
  comm::MeshGroups& groups() { return *groups_; }
  // World and sequence group, for work that is shared out over them.
  work::Ranks work_ranks() { return {*world_, *groups_->sequence}; }
  parallel::SampleRanks& pair_ranks() { return pair_ranks_; }
  parallel::SampleRanks& sequence_ranks() { return sequence_ranks_; }

  // Options that change results, of these sections of the configuration ("reconstruct", "adapter"); scalars of the root by name ("seed").
  nlohmann::json options_of(const std::vector<std::string>& sections) const;
  // reward_network_identities() of the configuration, read once a process by rank 0. Collective.
  const nlohmann::json& reward_networks();

  // What `read` returns on rank 0, on every rank; its error on every rank, too. Collective.
  nlohmann::json from_leader(const std::string& what, const std::function<nlohmann::json()>& read);

  // The outcome of a stage's work, on rank 0.
  struct StageResult {
    std::vector<std::filesystem::path> files;  // for the manifest
    std::string result;                        // see RunDirectory::mark_stage_done
  };
  // Runs `work` on every rank unless the stage is current, and records it. `fingerprint` is read on rank 0 only. The first call of a process records the
  // configuration and writes config.yaml: what refused to begin leaves them as they were. Returns whether it ran. Collective over world(); `work` is collective
  // too and returns its result on rank 0 (ignored elsewhere).
  bool stage(run_directory::Stage stage, const run_directory::Fingerprint& fingerprint, const std::function<StageResult()>& work);

  // Whether stage() or require_current() found or made it current in this process. Not collective; the same on every rank.
  bool known_current(run_directory::Stage stage) const { return current_.contains(stage); }
  // Throws UserError, which says what changed and names the command to run, unless the stage has finished with this fingerprint and its files are as it left
  // them. `fingerprint` is read on rank 0 only. Collective.
  void require_current(run_directory::Stage stage, const run_directory::Fingerprint& fingerprint);

  // The checkpoint that a finished stage of training (reconstruct, optimize) results in: the one that the manifest names. Throws as result_of(). Collective.
  std::filesystem::path checkpoint_of(run_directory::Stage stage);

  // The result of a finished stage, the same on every rank. Throws UserError naming the command to run first. Collective.
  std::string result_of(run_directory::Stage stage);
  // A hash of the files of a finished stage as its record holds them: for who shows what lies in them. Throws as result_of(). Collective.
  std::string files_of(run_directory::Stage stage);

 private:
  RunContext() = default;
  // Rank 0, for a stage that is not current: whether its results could be had from the run that `reuse` names. Content stores of that run are linked either
  // way.
  bool reuse_stage(run_directory::Stage stage, const run_directory::Fingerprint& fingerprint);

  Configuration configuration_;
  run_directory::Layout layout_;
  std::unique_ptr<comm::Communicator> world_;
  std::optional<comm::MeshGroups> groups_;
  parallel::SampleRanks pair_ranks_, sequence_ranks_;
  std::optional<run_directory::RunDirectory> run_;  // on rank 0
  std::optional<generation::PipelineFolder> pipeline_;
  models::nn::Placement placement_;
  ModelIdentity model_;
  nlohmann::json reward_networks_;  // null: not read yet
  std::set<run_directory::Stage> current_;
};

}  // namespace magicid::commands
