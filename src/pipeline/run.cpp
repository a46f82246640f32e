#include "pipeline/run.h"

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "base/version.h"
#include "comm/rank_errors.h"
#include "config/reader.h"
#include "config/writer.h"
#include "models/generator/beginning.h"
#include "models/generator/recompute_plan.h"
#include "pipeline/training_files.h"
#include "rewards/reward_networks.h"
#include "rewards/vqa.h"
#include "run_directory/takeover.h"
#include "work/from_leader.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;
using run_directory::Stage;
namespace fs = std::filesystem;

// What the configuration says of the transformer's blocks and the video's size, whichever stage comes to it.
void check_for_model(const Configuration& c, const models::generator::Backbone& backbone) {
  models::generator::Adapter::check_targets(backbone.adaptable(), c.adapter.targets);
  models::generator::RecomputePlan::parse(c.model.recompute).check(backbone.blocks());
  try {
    backbone.latent_shape({c.video.height, c.video.width, c.video.frames});
  } catch (const base::UserError& error) {
    throw base::UserError("video: ", error.what(), " (", c.model.folder, ")");
  }
}

// Whether adapter.initialize_from can be what stage 1 begins with, before any stage takes time.
void check_for_training(const Configuration& c, const models::generator::Backbone& backbone) {
  const std::string& path = c.adapter.initialize_from;
  const auto file = backbone.read_adapter(path, {});
  for (const auto& warning : file.warnings) base::log::warning("adapter.initialize_from: " + warning);
  models::generator::check_beginning(models::generator::planned_modules(backbone.adaptable(), adapter_options(c)), file.adapter, path);
}

}  // namespace

session::SessionOptions session_options(const Configuration& c) {
  return {.mesh = c.mesh, .device = {.device = c.model.device, .dtype = c.model.dtype}, .resident_memory = c.model.resident_memory};
}

std::unique_ptr<Run> Run::open(session::Session& session, Configuration configuration, bool accept_other_model) {
  std::unique_ptr<Run> run(new Run);
  run->configuration_ = std::move(configuration);
  const Configuration& c = run->configuration_;
  run->layout_ = {c.output};
  comm::agree_unless_stopped(session.world(), "opening the model", [&] {
    run->folder_ = backbone::ModelFolder::open(c.model.folder);
    check_for_model(c, run->backbone());
  });
  const json model = work::from_leader(session.world(), "reading what the model is", [&]() -> json {
    const auto files_of = [&](const fs::path& path) { return run->backbone().adapter_files(path); };
    const std::string& beginning = c.adapter.initialize_from;
    if (!beginning.empty()) check_for_training(c, run->backbone());
    return {{"model", run->folder_->fingerprint()},
            {"template", template_identity(c.model)},
            {"adapters", further_adapters_identity(c.generate.sampling, files_of)},
            {"beginning", beginning.empty() ? json() : json(adapter_identity(beginning, files_of))}};
  });
  run->model_ = {.model = model.at("model"),
                 .prompt_template = model.at("template"),
                 .dtype = session.placement().dtype == at::kBFloat16 ? "bfloat16" : "float32",
                 .adapters = model.at("adapters"),
                 .beginning = model.at("beginning")};
  comm::agree_unless_stopped(session.world(), "opening the run directory", [&] {
    if (session.leader()) run->open_directory(accept_other_model);
  });
  return run;
}

void Run::open_directory(bool accept_other_model) {
  Configuration& c = configuration_;
  run_directory::OpenOptions options;
  options.code_version = base::code_version();
  options.identity = {{"pipeline", backbone().pipeline_class()}, {"model", model_.model}};
  options.configuration = config::to_json(config::described(c), config::FieldSet::all);
  options.resolved_yaml = config::resolved_yaml(config::described(c));
  options.accept_other_identity = accept_other_model;
  options.record = false;
  if (!c.reuse.empty() && !fs::exists(run_directory::Layout{c.reuse}.manifest())) {
    // At a run's beginning a name that leads nowhere is a slip; later the other run may have been cleared away.
    if (!fs::exists(layout_.manifest())) throw base::UserError("reuse: ", c.reuse, ": is no run directory (it has no manifest.json)");
    base::log::warning("reuse: " + c.reuse + " is gone; what this run still needs is made here");
  }
  directory_ = run_directory::RunDirectory::open(c.output, options);
}

json Run::options_of(const std::vector<std::string>& sections) const {
  Configuration copy = configuration_;
  const json all = config::to_json(config::described(copy), config::FieldSet::fingerprint);
  json chosen = json::object();
  for (const auto& section : sections)
    if (all.contains(section)) chosen[section] = all[section];
  return chosen;
}

const json& Run::reward_networks(session::Session& session) {
  if (reward_networks_.is_null())
    reward_networks_ = work::from_leader(session.world(), "hashing the reward networks", [&] {
      const auto& options = configuration_.rewards;
      if (options.semantics == "vqa") rewards::VqaScore::check(rewards::vqa_folder(options, configuration_.model.folder), options.question);
      return reward_network_identities(configuration_);
    });
  return reward_networks_;
}

bool Run::stage(session::Session& session, Stage stage, const run_directory::Fingerprint& fingerprint, const std::function<StageResult()>& work) {
  const std::string name = run_directory::stage_name(stage);
  bool current = false;
  comm::agree(session.world(), "looking at stage " + name, [&] {
    {
      const base::StopPoints here;  // between stages nothing is in hand
      base::stop_if_asked(name);
    }
    if (!session.leader()) return;
    directory_->record();
    const auto state = directory_->stage_state(stage, fingerprint);
    current = state.current;
    if (current) {
      base::log::info(name + ": finished earlier, nothing to do");
      return;
    }
    base::log::info(name + ": " + state.reason);
    current = reuse_stage(stage, fingerprint);
    if (!current) directory_->begin_stage(stage, fingerprint);
  });
  const bool done = session.world().broadcast_string(current ? "current" : "", 0) == "current";
  current_.insert(stage);
  if (done) return false;
  const StageResult result = work();
  comm::agree(session.world(), "recording stage " + name, [&] {
    if (session.leader()) directory_->mark_stage_done(stage, fingerprint, result.files, result.result);
  });
  return true;
}

void Run::require_current(session::Session& session, Stage stage, const run_directory::Fingerprint& fingerprint) {
  const std::string name = run_directory::stage_name(stage);
  comm::agree(session.world(), "looking at stage " + name, [&] {
    if (!session.leader()) return;
    const auto state = directory_->stage_state(stage, fingerprint);
    if (!state.current)
      throw base::UserError(
          layout_.root.string(), ": stage ", name, " is not up to date with this configuration: ", state.reason, "\nRun `magicid ", name,
          "` or `magicid run` with it first, or set back what was changed; config.yaml in the run directory holds the values that were used.");
  });
  current_.insert(stage);
}

bool Run::reuse_stage(Stage stage, const run_directory::Fingerprint& fingerprint) {
  const std::string& other = configuration_.reuse;
  if (other.empty() || !fs::exists(run_directory::Layout{other}.manifest())) return false;
  const std::string name = run_directory::stage_name(stage);
  const run_directory::Layout there{other};
  bool taken = false;
  if (stage == Stage::prepare || stage == Stage::reconstruct || stage == Stage::generate || stage == Stage::score || stage == Stage::select) {
    const auto takeover = directory_->take_over(stage, fingerprint, other);
    taken = takeover.done;
    base::log::info(taken ? base::concat(name, ": taken over from ", other, " (", takeover.files, " files)")
                          : base::concat(name, ": not taken over from ", other, ": ", takeover.reason));
  }
  std::size_t linked = 0;
  const auto link = [&](fs::path (run_directory::Layout::*folder)() const) { linked += run_directory::link_new_files((there.*folder)(), (layout_.*folder)()); };
  using run_directory::Layout;
  if (!taken && (stage == Stage::reconstruct || stage == Stage::generate || stage == Stage::optimize)) link(&Layout::candidates);
  if (!taken && stage == Stage::score) link(&Layout::scores);
  if (stage == Stage::evaluate) link(&Layout::evaluation_store);
  if (stage == Stage::score || stage == Stage::evaluate) link(&Layout::previews);
  if (linked > 0) base::log::info(base::concat(name, ": ", linked, " files of ", other, " are at hand, and what they hold is found by key"));
  return taken;
}

fs::path Run::checkpoint_of(session::Session& session, Stage stage) {
  result_of(session, stage);
  std::string found;
  comm::agree(session.world(), "looking for a checkpoint", [&] {
    if (!session.leader()) return;
    for (const auto& [file, hash] : directory_->files_of(stage))
      if (fs::path(file).extension() == ".h5") found = (layout_.root / file).string();
    base::check_invariant(!found.empty(), layout_.manifest().string(), ": stage ", run_directory::stage_name(stage), " names no checkpoint");
  });
  return session.world().broadcast_string(found, 0);
}

bool Run::has_finished(session::Session& session, Stage stage) const {
  return work::from_leader(session.world(), "looking at stage " + run_directory::stage_name(stage),
                           [&]() -> json { return directory_->result_hash(stage).has_value(); });
}

std::string Run::result_of(session::Session& session, Stage stage) {
  std::string result;
  comm::agree(session.world(), "reading results", [&] {
    if (!session.leader()) return;
    const auto hash = directory_->result_hash(stage);
    const std::string name = run_directory::stage_name(stage);
    if (!hash) throw base::UserError(layout_.root.string(), ": stage ", name, " has not finished yet; run `magicid ", name, "` or `magicid run` first");
    result = *hash;
  });
  return session.world().broadcast_string(result, 0);
}

std::string Run::files_of(session::Session& session, Stage stage) {
  result_of(session, stage);
  return work::from_leader(session.world(), "reading results", [&]() -> json { return base::hash_json(json(directory_->files_of(stage))); });
}

}  // namespace magicid::pipeline
