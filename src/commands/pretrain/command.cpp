// `magicid pretrain`: makes the networks of the small world, each resumable, in the order in which they need each other.

#include <CLI/CLI.hpp>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/log.h"
#include "base/names.h"
#include "base/processor.h"
#include "comm/options.h"
#include "commands/command_line.h"
#include "commands/devices.h"
#include "commands/pretrain/assessment.h"
#include "commands/pretrain/model_card.h"
#include "commands/pretrain/network.h"
#include "config/reader.h"
#include "config/writer.h"
#include "run_directory/checkpoints.h"
#include "run_directory/event_file.h"
#include "run_directory/lock.h"
#include "run_directory/metrics_log.h"
#include "run_directory/set_aside.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"
#include "training/step_loop.h"

namespace magicid::commands::pretrain {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// One network in the order of making, with its section of the configuration.
struct Entry {
  std::string name;
  const NetworkOptions* options;
  std::function<std::unique_ptr<Network>(const Context&)> make;
};

std::vector<Entry> entries(const Configuration& c) {
  return {
      {"clip", &c.clip, [&c](const Context& x) { return make_clip(x, c.clip); }},
      {"text_encoder", &c.text_encoder, [&c](const Context& x) { return make_text_encoder(x, c.text_encoder); }},
      {"face_embedder", &c.face_embedder, [&c](const Context& x) { return make_face_embedder(x, c.face_embedder); }},
      {"landmark_detector", &c.landmark_detector, [&c](const Context& x) { return make_landmark_detector(x, c.landmark_detector); }},
      {"optical_flow", &c.optical_flow, [&c](const Context& x) { return make_optical_flow(x, c.optical_flow); }},
      {"autoencoder", &c.autoencoder, [&c](const Context& x) { return make_autoencoder(x, c.autoencoder); }},
      {"transformer", &c.transformer, [&c](const Context& x) { return make_transformer(x, c.transformer); }},
  };
}

config::Describe describe_root(Configuration& c) {
  return [&c](config::Fields& fields) { describe(fields, c); };
}

// Checkpoints, figures and pictures of one network below `folder`. Rank 0.
class Files {
 public:
  Files(fs::path folder, std::string name, Network& network, json about)
      : folder_(std::move(folder)), name_(std::move(name)), network_(network), about_(std::move(about)) {}

  std::optional<training::Checkpoint> load() {
    run_directory::remove_leftovers(folder_);
    auto found = run_directory::latest_intact(folder_);
    metrics_.emplace(folder_ / "metrics.jsonl", found ? found->step : -1);
    events_.emplace(folder_, found ? found->step : 0);
    if (!found) return std::nullopt;
    seconds_ = found->state.value("seconds", 0.0);
    training::Checkpoint checkpoint{.step = found->step, .parameters = found->tensors.at("parameters"), .first_moment = found->tensors.at("optimizer/first_moment"),
                                    .second_moment = found->tensors.at("optimizer/second_moment")};
    training::read_position(found->state, checkpoint);
    return checkpoint;
  }

  training::Write save(const training::Checkpoint& c) {
    json state = about_;
    state["seconds"] = seconds_;
    state.update(training::position_of(c));
    run_directory::SaveOptions options;
    if (c.keep) options.keep_as = run_directory::step_name(c.step);
    return [folder = folder_, c, state = std::move(state), options] {
      run_directory::save_checkpoint(folder, c.step, {{"parameters", c.parameters}, {"optimizer/first_moment", c.first_moment}, {"optimizer/second_moment", c.second_moment}}, state, options);
    };
  }

  void record(const training::StepRecord& r) {
    seconds_ += r.metrics.at("step_seconds");
    write(r.step, name_ + "/", r.metrics);
  }

  void validate(std::int64_t step) {
    const auto figures = network_.validate();
    network_.write_samples(folder_ / "samples" / base::concat("step-", step));
    write(step, name_ + "/validation/", figures);
    std::string line = base::concat(name_, ": validation at step ", step);
    for (const auto& [name, value] : figures) line += base::concat("  ", name, ' ', value);
    base::log::info(line);
    last_ = figures;
  }

  // What the folder of the finished network says about its making.
  json summary(std::int64_t steps) const { return {{"steps", steps}, {"hours", seconds_ / 3600}, {"validation", last_}}; }

 private:
  void write(std::int64_t step, const std::string& prefix, const std::map<std::string, double>& values) {
    std::map<std::string, double> tagged, plain;
    const std::string kind = prefix.substr(name_.size() + 1);
    for (const auto& [name, value] : values) tagged[prefix + name] = value, plain[kind + name] = value;
    metrics_->append(step, plain);
    events_->scalars(step, tagged);
  }

  fs::path folder_;
  std::string name_;
  Network& network_;
  json about_;
  double seconds_ = 0;
  std::map<std::string, double> last_;
  std::optional<run_directory::MetricsLog> metrics_;
  std::optional<run_directory::EventFile> events_;
};

// Networks that were made are listed here, with their figures.
json read_record(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  const json parsed = json::parse(storage::read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) throw base::UserError(path.string(), ": not a record of pretraining; move it away to make all networks again from their last checkpoints");
  return parsed;
}

void make(const Entry& entry, const Context& context, const Configuration& c, comm::Communicator& world) {
  const bool leader = world.rank() == 0;
  const fs::path folder = fs::path(c.output) / "training" / entry.name, record_path = context.model / "pretraining.json";
  Configuration copy = c;
  const json all = config::to_json(describe_root(copy), config::Selection::fingerprint);
  const json about{{"world", all.at("world")}, {"seed", c.seed}, {"options", all.at(entry.name)}, {"code_version", code_version()}};
  std::string state;
  comm::agree(world, "looking at " + entry.name, [&] {
    if (!leader) return;
    const json record = read_record(record_path);
    if (record.contains(entry.name) && record[entry.name].at("options") == about["options"] && record[entry.name].at("world") == about["world"] && record[entry.name].at("seed") == c.seed) state = "made";
  });
  if (world.broadcast_string(state, 0) == "made") {
    if (leader) base::log::info(entry.name + ": made earlier, nothing to do");
    return;
  }
  std::unique_ptr<Network> network;
  comm::agree(world, "starting " + entry.name, [&] { network = entry.make(context); });
  Files files(folder, entry.name, *network, about);
  const auto& options = *entry.options;
  training::StepHooks hooks{.load = [&] { return files.load(); }, .save = [&](const training::Checkpoint& x) { return files.save(x); }, .record = [&](const training::StepRecord& r) { files.record(r); }};
  hooks.after_step = [&](const training::StepRecord& r) {
    if (r.step % options.validate_every != 0 && r.step != options.training.steps) return;
    comm::agree(world, "validating " + entry.name, [&] {
      if (leader) files.validate(r.step);
    });
  };
  const auto result = training::run_steps(entry.name, options.training, network->objective(), world, hooks);
  comm::agree(world, "writing " + entry.name, [&] {
    if (!leader) return;
    const c10::AutoGradMode no_grad(false);
    if (result.first_step == result.steps) files.validate(result.steps);
    network->write();
    json record = read_record(record_path), made = about;
    made.update(files.summary(result.steps));
    if (const auto origin = network->origin(); !origin.empty()) made["origin"] = origin;
    record[entry.name] = made;
    record.erase("assessment");
    storage::write_text_atomically(record_path, record.dump(2) + "\n");
  });
}

// Figures of all networks together, once all are made, and the model card. Rank 0.
void describe_folder(const std::vector<Entry>& entries, const Context& context, const Configuration& c) {
  const fs::path record_path = context.model / "pretraining.json";
  json record = read_record(record_path);
  for (const auto& entry : entries)
    if (!record.contains(entry.name)) return base::log::info(entry.name + " is not made yet: no figures of all networks together");
  Configuration copy = c;
  const json options = config::to_json(describe_root(copy), config::Selection::fingerprint).at("assessment");
  if (record.contains("assessment") && record["assessment"].at("options") == options && fs::exists(context.model / "README.md")) return;
  const c10::AutoGradMode no_grad(false);
  base::log::info(base::concat("looking at ", c.assessment.clips, " clips with all networks"));
  record["assessment"] = {{"options", options}, {"validation", assess(context, c.assessment, context.model / "samples.png")}};
  storage::write_text_atomically(context.model / "README.md", model_card(record));
  storage::write_text_atomically(record_path, record.dump(2) + "\n");
}

// bfloat16 pays on the CPU only where there is an instruction for its products.
std::string chosen_dtype(const Configuration& c) {
  if (c.dtype != "auto") return c.dtype;
  return c.device == "cuda" || base::multiplies_bfloat16() ? "bfloat16" : "auto";
}

int pretrain(const std::string& file, const std::vector<std::string>& overrides, const std::vector<std::string>& only) {
  Configuration c;
  config::read(file, describe_root(c), overrides);
  const auto all = entries(c);
  std::vector<std::string> known;
  for (const auto& entry : all) known.push_back(entry.name);
  for (const auto& name : only)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw base::UserError("--only ", name, ": there is no such network", base::did_you_mean(name, known), "; expected one of ", base::join_names(known));
  auto world = comm::make_world(c.mesh);
  base::log::configure(base::log::Level::info, world->rank(), world->size());
  std::optional<run_directory::RunLock> lock;
  comm::agree(*world, "opening " + c.output, [&] {
    if (world->rank() != 0) return;
    fs::create_directories(fs::path(c.output) / "model");
    lock = run_directory::RunLock::acquire(c.output);
    storage::write_text_atomically(fs::path(c.output) / "pretrain.yaml", config::resolved_yaml(describe_root(c)));
  });
  const Context context{.model = fs::path(c.output) / "model", .world = c.world, .seed = static_cast<std::uint64_t>(c.seed), .placement = resolve({c.device, chosen_dtype(c)})};
  for (const auto& entry : all)
    if (only.empty() || std::find(only.begin(), only.end(), entry.name) != only.end()) make(entry, context, c, *world);
  comm::agree(*world, "looking at the networks together", [&] {
    if (world->rank() == 0) describe_folder(all, context, c);
  });
  return 0;
}

}  // namespace

void write_half(const fs::path& folder, const std::string& config, const std::map<std::string, at::Tensor>& tensors, const std::string& file) {
  storage::NamedTensors half;
  for (const auto& [name, tensor] : tensors) half[name] = tensor.is_floating_point() ? tensor.detach().to(at::kCPU, at::kHalf).contiguous() : tensor.detach().cpu();
  fs::create_directories(folder);
  storage::write_safetensors(folder / file, half, {{"format", "pt"}});
  storage::write_text_atomically(folder / "config.json", config + "\n");
}

}  // namespace magicid::commands::pretrain

namespace magicid::commands {

void add_pretrain(CLI::App& app, Work& work) {
  struct Arguments {
    std::string configuration;
    std::vector<std::string> overrides, only;
  };
  auto* command = app.add_subcommand("pretrain", "Make the small world's networks from nothing: a pipeline folder and its reward networks");
  auto a = std::make_shared<Arguments>();
  command->add_option("configuration", a->configuration, "YAML file, e.g. configs/miniature.yaml")->required()->check(CLI::ExistingFile);
  command->add_option("--set", a->overrides, "key=value: overrides the file, e.g. --set transformer.steps=100");
  command->add_option("--only", a->only, "networks to make, by name; others must have been made where they are needed")->delimiter(',');
  command->callback([a, &work] { work = [a] { return pretrain::pretrain(a->configuration, a->overrides, a->only); }; });
}

}  // namespace magicid::commands
