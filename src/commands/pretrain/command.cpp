// `magicid pretrain`: makes the networks of the small world, each resumable, in the order in which they need each other.

#include <CLI/CLI.hpp>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/names.h"
#include "base/processor.h"
#include "base/text.h"
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
  std::vector<std::string> needs = {};  // folders of the model that it learns from
};

std::vector<Entry> entries(const Configuration& c) {
  return {
      {"clip", &c.clip, [&c](const Context& x) { return make_clip(x, c.clip); }},
      {"text_encoder", &c.text_encoder, [&c](const Context& x) { return make_text_encoder(x, c.text_encoder); }},
      {"face_embedder", &c.face_embedder, [&c](const Context& x) { return make_face_embedder(x, c.face_embedder); }},
      {"landmark_detector", &c.landmark_detector, [&c](const Context& x) { return make_landmark_detector(x, c.landmark_detector); }},
      {"optical_flow", &c.optical_flow, [&c](const Context& x) { return make_optical_flow(x, c.optical_flow); }},
      {"autoencoder", &c.autoencoder, [&c](const Context& x) { return make_autoencoder(x, c.autoencoder); }},
      {"transformer", &c.transformer, [&c](const Context& x) { return make_transformer(x, c.transformer); }, {"vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}},
  };
}

config::Describe describe_root(Configuration& c) {
  return [&c](config::Fields& fields) { describe(fields, c); };
}

// The only keys that a checkpoint may go on under other values of, while steps remain: `starts` in the record says which values held from which step on.
const std::set<std::string>& schedule_keys() {
  static const std::set<std::string> keys{"steps", "learning_rate", "warmup_steps", "schedule", "decay_steps"};
  return keys;
}

std::string hash_of_folder(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : fs::recursive_directory_iterator(folder))
    if (file.is_regular_file()) {
      base::file_name(file.path());  // refuses what JSON cannot hold
      files[file.path().lexically_relative(folder).generic_string()] = base::hash_file(file.path());
    }
  return base::hash_json(files);
}

// What determines the weights of a network. Folders that are not there are left out: the network itself says what it lacks.
json determinants(const Entry& entry, const fs::path& model, Configuration c) {
  const json all = config::to_json(describe_root(c), config::Selection::fingerprint);
  json about{{"world", all.at("world")}, {"seed", c.seed}, {"options", all.at(entry.name)}};
  for (const auto& folder : entry.needs)
    if (fs::is_directory(model / folder)) about["networks"][folder] = hash_of_folder(model / folder);
  return about;
}

struct Difference {
  std::string key;
  std::string stored, present;
  bool of_the_schedule = false;
};

// `stored` is of a checkpoint or a record. A key that it lacks is younger than it and had its default; networks that it lacks are not known and pass.
std::vector<Difference> differences(const Entry& entry, const json& stored, const json& present) {
  const json defaults = determinants({.name = entry.name, .options = nullptr, .make = {}}, {}, Configuration());
  std::vector<Difference> found;
  const auto compare = [&](const std::string& key, const json& before, const json& now, bool of_the_schedule) {
    if (before != now) found.push_back({key, before.dump(), now.dump(), of_the_schedule});
  };
  compare("seed", stored.at("seed"), present.at("seed"), false);
  for (const auto& [key, value] : present.at("world").items()) compare("world." + key, stored.at("world").value(key, defaults.at("world").at(key)), value, false);
  for (const auto& [key, value] : present.at("options").items())
    compare(entry.name + "." + key, stored.at("options").value(key, defaults.at("options").at(key)), value, schedule_keys().contains(key));
  const json networks = stored.value("networks", json::object());
  for (const auto& [folder, hash] : networks.items()) compare("model/" + folder, hash, present.value("networks", json::object()).value(folder, json("not there")), false);
  return found;
}

// Weights must not be taken for those of other options. `where` holds what was trained; `end` says why it cannot go on under another schedule, and is empty where it can.
void refuse_others(const Entry& entry, const fs::path& where, const json& stored, const json& present, const std::string& end) {
  std::string changes, schedule;
  for (const auto& d : differences(entry, stored, present)) {
    if (d.of_the_schedule && end.empty()) continue;
    changes += base::concat(changes.empty() ? "" : "; ", d.key, " is ", d.present, " now, was ", d.stored, " then");
    if (d.of_the_schedule) schedule = ". A schedule may change while steps remain, but " + end;
  }
  if (changes.empty()) return;
  throw base::UserError(where.string(), ": ", entry.name, " was trained with something else: ", changes, schedule, ". Go on with what it was then, or give another `output` folder to train anew");
}

// What a start of training adds to the record: who ran what from which step on.
json start_of(const std::string& command, int ranks, std::int64_t step, const json& options) {
  json schedule;
  for (const auto& key : schedule_keys()) schedule[key] = options.at(key);
  json start{{"after_step", step}, {"schedule", schedule}};
  if (!command.empty()) start.update({{"command", command}, {"ranks", ranks}});
  return start;
}

// All starts up to now. Checkpoints of before starts were recorded have their schedule only.
json starts_of(const json& stored, json start) {
  json starts = stored.value("starts", json::array());
  if (starts.empty() && start.at("after_step") != 0) starts.push_back(start_of("", 0, 0, stored.at("options")));
  json again = start;
  if (!starts.empty()) again["after_step"] = starts.back().at("after_step");
  if (starts.empty() || starts.back() != again) starts.push_back(std::move(start));
  return starts;
}

// Checkpoints, figures and pictures of one network below `folder`. Rank 0.
class Files {
 public:
  // `about` goes into every checkpoint; `found` is the one to go on from.
  Files(fs::path folder, std::string name, Network& network, json about, std::optional<run_directory::Checkpoint> found)
      : folder_(std::move(folder)), name_(std::move(name)), network_(network), about_(std::move(about)), found_(std::move(found)) {}

  std::optional<training::Checkpoint> load() {
    metrics_.emplace(folder_ / "metrics.jsonl", found_ ? found_->step : -1);
    events_.emplace(folder_, found_ ? found_->step : 0);
    if (!found_) return std::nullopt;
    seconds_ = found_->state.value("seconds", 0.0);
    training::Checkpoint checkpoint{.step = found_->step, .parameters = found_->tensors.at("parameters"), .first_moment = found_->tensors.at("optimizer/first_moment"),
                                    .second_moment = found_->tensors.at("optimizer/second_moment")};
    training::read_position(found_->state, checkpoint);
    found_.reset();
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
  std::optional<run_directory::Checkpoint> found_;
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

void make(const Entry& entry, const Context& context, const Configuration& c, const std::string& command, comm::Communicator& world) {
  const bool leader = world.rank() == 0;
  const fs::path folder = fs::path(c.output) / "training" / entry.name, record_path = context.model / "pretraining.json";
  json about, made;  // of this start, and of the record
  std::optional<run_directory::Checkpoint> found;
  std::string state;
  comm::agree(world, "looking at " + entry.name, [&] {
    if (!leader) return;
    about = determinants(entry, context.model, c);
    made = read_record(record_path).value(entry.name, json::object());
    if (!made.empty() && differences(entry, made, about).empty()) {
      state = "made";
      return;
    }
    run_directory::remove_leftovers(folder);
    found = run_directory::latest_intact(folder);
    if (found) refuse_others(entry, found->path, found->state, about, found->step < entry.options->training.steps ? "" : base::concat("this is of step ", found->step));
    else if (!made.empty()) refuse_others(entry, record_path, made, about, "no checkpoint is left to go on from");
    state = found ? "goes on" : "new";
  });
  state = world.broadcast_string(state, 0);
  if (state == "made") {
    if (leader) base::log::info(entry.name + ": made earlier, nothing to do");
    return;
  }
  std::unique_ptr<Network> network;
  Context its = context;
  its.goes_on = state == "goes on";
  comm::agree(world, "starting " + entry.name, [&] {
    network = entry.make(its);
    if (!leader) return;
    const json stored = found ? found->state : json::object();
    const std::int64_t step = found ? found->step : 0;
    about["starts"] = step < entry.options->training.steps ? starts_of(stored, start_of(command, world.size(), step, about.at("options"))) : stored.value("starts", json::array());
    about["code_version"] = code_version();
    if (its.goes_on) {
      if (!stored.contains("networks")) about.erase("networks");  // nobody knows whether it was trained on those of now
      // The record knows what older checkpoints lack, and what somebody wrote into it.
      for (const char* key : {"origin", "history"})
        if (const auto text = made.value(key, stored.value(key, "")); !text.empty()) about[key] = text;
    } else if (const auto origin = network->origin(); !origin.empty()) {
      about["origin"] = origin;
    }
  });
  Files files(folder, entry.name, *network, about, std::move(found));
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
    json record = read_record(record_path);
    record[entry.name] = about;
    record[entry.name].update(files.summary(result.steps));
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
  if (!record.contains("assessment") || record["assessment"].at("options") != options) {
    const c10::AutoGradMode no_grad(false);
    base::log::info(base::concat("looking at ", c.assessment.clips, " clips with all networks"));
    record["assessment"] = {{"options", options}, {"validation", assess(context, c.assessment, context.model / "samples.png")}};
    storage::write_text_atomically(record_path, record.dump(2) + "\n");
  }
  // Also where nothing else is to be done: a history written into the record reaches the card.
  const fs::path path = context.model / "README.md";
  const std::string card = model_card(record);
  if (!fs::exists(path) || storage::read_text(path) != card) storage::write_text_atomically(path, card);
}

// bfloat16 pays on the CPU only where there is an instruction for its products.
std::string chosen_dtype(const Configuration& c) {
  if (c.dtype != "auto") return c.dtype;
  return c.device == "cuda" || base::multiplies_bfloat16() ? "bfloat16" : "auto";
}

// A word as a shell reads it back.
std::string shell_word(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%") == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

// What was typed, for the record.
std::string command_line(const std::string& file, const std::vector<std::string>& overrides, const std::vector<std::string>& only) {
  std::string line = "magicid pretrain " + shell_word(file);
  for (const auto& change : overrides) line += " --set " + shell_word(change);
  for (std::size_t i = 0; i < only.size(); ++i) line += (i == 0 ? " --only " : ",") + only[i];
  return line;
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
    if (only.empty() || std::find(only.begin(), only.end(), entry.name) != only.end()) make(entry, context, c, command_line(file, overrides, only), *world);
  comm::agree(*world, "looking at the networks together", [&] {
    if (world->rank() == 0) describe_folder(all, context, c);
  });
  return 0;
}

constexpr const char* introduction = R"(# Keys of pretraining

This page is printed by `magicid pretrain --keys`; it is not edited by hand. The rules are those of [configuration.md](configuration.md).

)";

int print_keys() {
  Configuration c;
  std::cout << introduction << config::reference_markdown(describe_root(c)) << std::flush;
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
    bool keys = false;
  };
  auto* command = app.add_subcommand("pretrain", "Make the small world's networks from nothing: a pipeline folder and its reward networks");
  auto a = std::make_shared<Arguments>();
  command->add_option("configuration", a->configuration, "YAML file, e.g. configs/miniature.yaml")->check(CLI::ExistingFile);
  command->add_option("--set", a->overrides, "key=value: overrides the file, e.g. --set transformer.steps=100");
  command->add_option("--only", a->only, "networks to make, by name; others must have been made where they are needed")->delimiter(',');
  command->add_flag("--keys", a->keys, "print every key of the configuration with type, default, range and meaning, as Markdown (docs/pretraining-keys.md)");
  command->callback([a, &work] {
    if (a->keys) work = pretrain::print_keys;
    else if (a->configuration.empty()) throw CLI::RequiredError("configuration");
    else work = [a] { return pretrain::pretrain(a->configuration, a->overrides, a->only); };
  });
}

}  // namespace magicid::commands
