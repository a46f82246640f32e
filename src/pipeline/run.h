// One run: a configuration, the model that it names, and its directory with what is known of each stage. It holds nothing of the process: whoever works on it
// brings a session.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backbone/model_folder.h"
#include "pipeline/configuration.h"
#include "pipeline/identities.h"
#include "run_directory/run_directory.h"
#include "session/session.h"

namespace magicid::pipeline {

// What the configuration says of the process.
session::SessionOptions session_options(const Configuration& configuration);

class Run {
 public:
  // Opens the model folder and the run directory. `accept_other_model`: go on in a run directory that was made with another model. Collective over the
  // session's world.
  static std::unique_ptr<Run> open(session::Session& session, Configuration configuration, bool accept_other_model);

  const Configuration& config() const { return configuration_; }
  const run_directory::Layout& layout() const { return layout_; }
  const backbone::ModelFolder& folder() const { return *folder_; }
  const models::generator::Backbone& backbone() const { return folder_->backbone(); }
  // Read once a process by rank 0; the same on every rank.
  const ModelIdentity& model() const { return model_; }
  std::uint64_t seed() const { return static_cast<std::uint64_t>(configuration_.seed); }

  // Options that change results, of these sections of the configuration ("reconstruct", "adapter"); scalars of the root by name ("seed").
  nlohmann::json options_of(const std::vector<std::string>& sections) const;
  // reward_network_identities() of the configuration, read once a process by rank 0. Collective.
  const nlohmann::json& reward_networks(session::Session& session);

  // The outcome of a stage's work, on rank 0.
  struct StageResult {
    std::vector<std::filesystem::path> files;  // for the manifest
    std::string result;                        // see RunDirectory::mark_stage_done
  };
  // Runs `work` on every rank unless the stage is current, and records it. `fingerprint` is read on rank 0 only. The first call of a process records the
  // configuration and writes config.yaml: what refused to begin leaves them as they were. Returns whether it ran. Collective over the session's world; `work`
  // is collective too and returns its result on rank 0 (ignored elsewhere).
  bool stage(session::Session& session, run_directory::Stage stage, const run_directory::Fingerprint& fingerprint, const std::function<StageResult()>& work);

  // Whether stage() or require_current() found or made it current in this process. Not collective; the same on every rank.
  bool known_current(run_directory::Stage stage) const { return current_.contains(stage); }
  // Throws UserError, which says what changed and names the command to run, unless the stage has finished with this fingerprint and its files are as it left
  // them. `fingerprint` is read on rank 0 only. Collective.
  void require_current(session::Session& session, run_directory::Stage stage, const run_directory::Fingerprint& fingerprint);

  // The checkpoint that a finished stage of training (reconstruct, optimize) results in: the one that the manifest names. Throws as result_of(). Collective.
  std::filesystem::path checkpoint_of(session::Session& session, run_directory::Stage stage);
  // Whether a stage has finished, with whatever options and inputs. Collective.
  bool has_finished(session::Session& session, run_directory::Stage stage) const;
  // The result of a finished stage, the same on every rank. Throws UserError naming the command to run first. Collective.
  std::string result_of(session::Session& session, run_directory::Stage stage);
  // A hash of the files of a finished stage as its record holds them: for who shows what lies in them. Throws as result_of(). Collective.
  std::string files_of(session::Session& session, run_directory::Stage stage);

 private:
  Run() = default;
  void open_directory(bool accept_other_model);  // on rank 0
  // Rank 0, for a stage that is not current: whether its results could be had from the run that `reuse` names. Content stores of that run are linked either
  // way.
  bool reuse_stage(run_directory::Stage stage, const run_directory::Fingerprint& fingerprint);

  Configuration configuration_;
  run_directory::Layout layout_;
  std::optional<run_directory::RunDirectory> directory_;  // on rank 0
  std::optional<backbone::ModelFolder> folder_;
  ModelIdentity model_;
  nlohmann::json reward_networks_;  // null: not read yet
  std::set<run_directory::Stage> current_;
};

}  // namespace magicid::pipeline
