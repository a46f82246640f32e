#include "pretraining/pretraining.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "base/log.h"
#include "base/names.h"
#include "base/processor.h"
#include "config/writer.h"
#include "pretraining/assessment.h"
#include "pretraining/model_card.h"
#include "pretraining/network_training.h"
#include "pretraining/record.h"
#include "run_directory/lock.h"
#include "storage/atomic_file.h"

namespace magicid::pretraining {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

bool wanted(const std::vector<std::string>& only, const std::string& name) { return only.empty() || std::find(only.begin(), only.end(), name) != only.end(); }

void check_names(const std::vector<std::string>& only, const std::vector<NetworkEntry>& networks) {
  std::vector<std::string> known;
  for (const auto& entry : networks) known.push_back(entry.name);
  for (const auto& name : only)
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw base::UserError("--only ", name, ": there is no such network", base::did_you_mean(name, known), "; expected one of ", base::join_names(known));
}

// Figures of all networks together, once all are made, and the model card. Rank 0.
void describe_folder(const std::vector<NetworkEntry>& networks, const Context& context, Options options) {
  json record = read_record(context.model);
  for (const auto& entry : networks)
    if (!record.contains(entry.name)) return base::log::info(entry.name + " is not made yet: no figures of all networks together");
  const json assessed_with = config::to_json(config::described(options), config::FieldSet::fingerprint).at("assessment");
  if (!record.contains("assessment") || record["assessment"].at("options") != assessed_with) {
    const c10::AutoGradMode no_grad(false);
    base::log::info(base::concat("looking at ", options.assessment.clips, " clips with all networks"));
    record["assessment"] = {{"options", assessed_with}, {"validation", assess(context, options.assessment, context.model / "samples.png")}};
    write_record(context.model, record);
  }
  // Also where nothing else is to be done: a history written into the record reaches the card.
  const fs::path path = context.model / "README.md";
  const std::string card = model_card(record);
  if (!fs::exists(path) || storage::read_text(path) != card) storage::write_text_atomically(path, card);
}

// Makes the folder and keeps others out of it while the lock lives; saves the resolved configuration. Rank 0.
run_directory::RunLock open_output(const fs::path& output, Options options) {
  fs::create_directories(output / "model");
  auto lock = run_directory::RunLock::acquire(output);
  storage::write_text_atomically(output / "pretrain.yaml", config::resolved_yaml(config::described(options)));
  return lock;
}

}  // namespace

std::string computing_dtype(const Options& options) {
  if (options.dtype != "auto") return options.dtype;
  return options.device == "cuda" || base::multiplies_bfloat16() ? "bfloat16" : "auto";
}

void pretrain(const Options& options, const Start& start, comm::Communicator& world) {
  const auto networks = networks_in_order(options);
  check_names(start.only, networks);
  std::optional<run_directory::RunLock> lock;
  comm::agree(world, "opening " + options.output, [&] {
    if (world.rank() == 0) lock = open_output(options.output, options);
  });
  const Context context{
      .model = fs::path(options.output) / "model", .world = options.world, .seed = static_cast<std::uint64_t>(options.seed), .placement = start.placement};
  for (const auto& entry : networks)
    if (wanted(start.only, entry.name)) make_network(entry, context, options, start, world);
  comm::agree(world, "looking at the networks together", [&] {
    if (world.rank() == 0) describe_folder(networks, context, options);
  });
}

}  // namespace magicid::pretraining
