#include "commands/run_context.h"

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "comm/options.h"
#include "commands/command_line.h"
#include "commands/devices.h"
#include "commands/identities.h"
#include "config/reader.h"
#include "config/writer.h"
#include "models/generator/adapter.h"
#include "models/generator/recompute_plan.h"
#include "run_directory/takeover.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
using run_directory::Stage;
namespace fs = std::filesystem;

// What the configuration says of the transformer's blocks, whichever stage comes to it.
void check_for_model(const Configuration& c, const models::hunyuan_video::TransformerConfig& transformer) {
  models::generator::Adapter::check_targets(adaptable(transformer), c.adapter.targets);
  models::generator::RecomputePlan::parse(c.model.recompute).check(transformer.num_layers + transformer.num_single_layers);
}

config::Describe describe_root(Configuration& configuration) {
  return [&configuration](config::Fields& fields) { describe(fields, configuration); };
}

}  // namespace

std::unique_ptr<RunContext> RunContext::open(const RunArguments& arguments) {
  std::unique_ptr<RunContext> context(new RunContext);
  // Every rank reads the same file; what is wrong with it is found before anything is started.
  config::read(arguments.configuration, describe_root(context->configuration_), arguments.overrides);
  Configuration& c = context->configuration_;
  c.optimize.training.steps = optimizer_steps(c.optimize);
  context->layout_ = {c.output};
  context->placement_ = resolve({c.model.device, c.model.dtype});
  context->world_ = comm::make_world(c.mesh);
  context->groups_.emplace(comm::make_groups(*context->world_, comm::make_mesh(c.mesh, context->world_->size())));
  context->pair_ranks_ = parallel::SampleRanks(*context->groups_);
  context->sequence_ranks_ = parallel::SampleRanks::of_sequence(*context->groups_);

  comm::Communicator& world = *context->world_;
  base::log::configure(base::log::Level::info, world.rank(), world.size());
  comm::agree_unless_stopped(world, "opening the model", [&] {
    context->pipeline_ = generation::PipelineFolder::open(c.model.folder);
    check_for_model(c, context->pipeline_->transformer_config());
  });
  const json model =
      context->from_leader("reading what the model is", [&]() -> json { return {context->pipeline_->fingerprint(), template_identity(c.model)}; });
  context->model_ = {.model = model[0], .prompt_template = model[1], .dtype = context->placement_.dtype == at::kBFloat16 ? "bfloat16" : "float32"};
  comm::agree_unless_stopped(world, "opening the run directory", [&] {
    if (!context->leader()) return;
    run_directory::OpenOptions options;
    options.code_version = code_version();
    options.identity = {{"pipeline", "HunyuanVideoPipeline"}, {"model", context->model_.model}};
    options.configuration = config::to_json(describe_root(c), config::Selection::all);
    options.resolved_yaml = config::resolved_yaml(describe_root(c));
    options.accept_other_identity = arguments.accept_other_model;
    options.record = false;
    if (!c.reuse.empty() && !fs::exists(run_directory::Layout{c.reuse}.manifest())) {
      // At a run's beginning a name that leads nowhere is a slip; later the other run may have been cleared away.
      if (!fs::exists(context->layout_.manifest())) throw base::UserError("reuse: ", c.reuse, ": is no run directory (it has no manifest.json)");
      base::log::warning("reuse: " + c.reuse + " is gone; what this run still needs is made here");
    }
    context->run_ = run_directory::RunDirectory::open(c.output, options);
  });
  return context;
}

json RunContext::options_of(const std::vector<std::string>& sections) const {
  Configuration copy = configuration_;
  const json all = config::to_json(describe_root(copy), config::Selection::fingerprint);
  json chosen = json::object();
  for (const auto& section : sections)
    if (all.contains(section)) chosen[section] = all[section];
  return chosen;
}

json RunContext::from_leader(const std::string& what, const std::function<json()>& read) {
  json value;
  comm::agree_unless_stopped(*world_, what, [&] {
    if (leader()) value = read();
  });
  return json::parse(world_->broadcast_string(value.dump(), 0));
}

const json& RunContext::reward_networks() {
  if (reward_networks_.is_null()) reward_networks_ = from_leader("hashing the reward networks", [&] { return reward_network_identities(configuration_); });
  return reward_networks_;
}

bool RunContext::stage(Stage stage, const run_directory::Fingerprint& fingerprint, const std::function<StageResult()>& work) {
  const std::string name = run_directory::stage_name(stage);
  bool current = false;
  comm::agree(*world_, "looking at stage " + name, [&] {
    {
      const base::StopPoints here;  // between stages nothing is in hand
      base::stop_if_asked(name);
    }
    if (!leader()) return;
    run_->record();
    const auto state = run_->stage_state(stage, fingerprint);
    current = state.current;
    if (current) {
      base::log::info(name + ": finished earlier, nothing to do");
      return;
    }
    base::log::info(name + ": " + state.reason);
    current = reuse_stage(stage, fingerprint);
    if (!current) run_->begin_stage(stage, fingerprint);
  });
  const bool done = world_->broadcast_string(current ? "current" : "", 0) == "current";
  current_.insert(stage);
  if (done) return false;
  const StageResult result = work();
  comm::agree(*world_, "recording stage " + name, [&] {
    if (leader()) run_->mark_stage_done(stage, fingerprint, result.files, result.result);
  });
  return true;
}

void RunContext::require_current(Stage stage, const run_directory::Fingerprint& fingerprint) {
  const std::string name = run_directory::stage_name(stage);
  comm::agree(*world_, "looking at stage " + name, [&] {
    if (!leader()) return;
    const auto state = run_->stage_state(stage, fingerprint);
    if (!state.current)
      throw base::UserError(
          layout_.root.string(), ": stage ", name, " is not up to date with this configuration: ", state.reason, "\nRun `magicid ", name,
          "` or `magicid run` with it first, or set back what was changed; config.yaml in the run directory holds the values that were used.");
  });
  current_.insert(stage);
}

bool RunContext::reuse_stage(Stage stage, const run_directory::Fingerprint& fingerprint) {
  const std::string& other = configuration_.reuse;
  if (other.empty() || !fs::exists(run_directory::Layout{other}.manifest())) return false;
  const std::string name = run_directory::stage_name(stage);
  const run_directory::Layout there{other};
  bool taken = false;
  if (stage == Stage::prepare || stage == Stage::reconstruct || stage == Stage::generate || stage == Stage::score || stage == Stage::select) {
    const auto takeover = run_->take_over(stage, fingerprint, other);
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

fs::path RunContext::checkpoint_of(Stage stage) {
  result_of(stage);
  std::string found;
  comm::agree(*world_, "looking for a checkpoint", [&] {
    if (!leader()) return;
    const json manifest = run_->manifest();
    for (const auto& [file, record] : manifest.at("stages").at(run_directory::stage_name(stage)).at("files").items())
      if (fs::path(file).extension() == ".h5") found = (layout_.root / file).string();
    base::check_invariant(!found.empty(), layout_.manifest().string(), ": stage ", run_directory::stage_name(stage), " names no checkpoint");
  });
  return world_->broadcast_string(found, 0);
}

std::string RunContext::result_of(Stage stage) {
  std::string result;
  comm::agree(*world_, "reading results", [&] {
    if (!leader()) return;
    const auto hash = run_->result_hash(stage);
    const std::string name = run_directory::stage_name(stage);
    if (!hash) throw base::UserError(layout_.root.string(), ": stage ", name, " has not finished yet; run `magicid ", name, "` or `magicid run` first");
    result = *hash;
  });
  return world_->broadcast_string(result, 0);
}

std::string RunContext::files_of(Stage stage) {
  result_of(stage);
  return from_leader("reading results", [&]() -> json {
    json hashes = json::object();
    const json manifest = run_->manifest();
    for (const auto& [file, record] : manifest.at("stages").at(run_directory::stage_name(stage)).at("files").items()) hashes[file] = record.at("xxh128");
    return base::hash_json(hashes);
  });
}

}  // namespace magicid::commands
