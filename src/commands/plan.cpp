// `magicid plan`: which layout a job should take on given devices, what it needs and how long it takes. Opens no weights and starts no ranks.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "backbone/model_folder.h"
#include "base/errors.h"
#include "commands/command_line.h"
#include "models/generator/adapter.h"
#include "pipeline/workload.h"
#include "planning/plan.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;

struct PlanArguments {
  std::string configuration, gpus = "1x1", device, model_config, recompute;
  std::vector<std::string> overrides;
  int pair = 0, sequence = 0;  // 0: chosen here
  bool json = false;
  double network = 25;  // GB/s
  planning::Efficiencies efficiencies;
};

// "8x8": nodes and GPUs of each.
std::pair<int, int> nodes_and_gpus(const std::string& text) {
  std::istringstream in(text);
  int nodes = 0, gpus = 0;
  char by = 0;
  if (!(in >> nodes >> by >> gpus) || by != 'x' || in.peek() != std::istringstream::traits_type::eof() || nodes < 1 || gpus < 1 || nodes > 4096 || gpus > 64)
    throw base::UserError("--gpus '", text, "': expected NODESxGPUS, e.g. 8x8 for 8 nodes of 8 GPUs");
  return {nodes, gpus};
}

planning::Networks networks_of(const pipeline::Configuration& c, const std::string& model_config) {
  const fs::path folder = c.model.folder, transformer = folder / "transformer" / "config.json";
  if (!model_config.empty()) return {backbone::published_cost(model_config), "HunyuanVideo's published sizes"};
  if (!fs::exists(transformer))
    throw base::UserError(
        transformer.string(),
        ": not found; name the pipeline's folder in model.folder, or take the published sizes of HunyuanVideo with --model-config hunyuanvideo");
  return {backbone::cost_of_folder(folder), folder.string()};
}

int plan(const PlanArguments& a) {
  const auto c = pipeline::read_configuration(a.configuration, a.overrides);
  const auto [nodes, gpus] = nodes_and_gpus(a.gpus);
  const planning::Cluster cluster{.nodes = nodes, .gpus = gpus, .device = planning::device_named(a.device), .network_bandwidth = a.network * 1e9};
  const planning::Networks networks = networks_of(c, a.model_config);
  models::generator::Adapter::check_targets(networks.backbone->adaptable(), c.adapter.targets);
  const planning::Workload workload = pipeline::workload_of(c);
  planning::Wish wish;
  if (a.pair > 0) wish.pair = a.pair;
  if (a.sequence > 0) wish.sequence = a.sequence;
  if (!a.recompute.empty()) wish.recompute = models::generator::RecomputePlan::parse(a.recompute);
  const planning::Plan made = planning::make_plan(networks, workload, cluster, a.efficiencies, wish);
  if (a.json) std::cout << planning::to_json(made, networks, workload, cluster, a.efficiencies).dump(2) << "\n";
  else std::cout << planning::to_table(made, networks, workload, cluster, a.efficiencies);
  std::cout << std::flush;
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("plan", "Memory, operations and time of a run on given devices, and the layout of ranks to take; opens no weights");
  auto a = std::make_shared<PlanArguments>();
  command->add_option("configuration", a->configuration, "YAML file (docs/configuration.md)")->required();
  command->add_option("--set", a->overrides, "KEY=VALUE that wins over the file; may be repeated")->allow_extra_args(false);
  command->add_option("--gpus", a->gpus, "NODESxGPUS: how many nodes, and GPUs in each")->capture_default_str();
  std::vector<std::string> names;
  for (const auto& device : planning::devices()) names.push_back(device.name);
  command->add_option("--device", a->device, "what the GPUs are")->required()->check(CLI::IsMember(names));
  command->add_option("--model-config", a->model_config, "hunyuanvideo: its published sizes, instead of those in model.folder")
      ->check(CLI::IsMember({"hunyuanvideo"}));
  command->add_option("--pair", a->pair, "mesh.pair to take; else it is chosen")->check(CLI::Range(1, 2));
  command->add_option("--sequence", a->sequence, "mesh.sequence to take; else it is chosen")->check(CLI::PositiveNumber);
  command->add_option("--recompute", a->recompute, "model.recompute to take; else it is chosen");
  command->add_option("--network", a->network, "GB/s between nodes for each GPU, one direction")->check(CLI::PositiveNumber)->capture_default_str();
  const auto share = [&](const char* name, double& value, const char* help) {
    command->add_option(name, value, help)->check(CLI::Range(0.001, 1.0))->capture_default_str();
  };
  share("--efficiency-training", a->efficiencies.training, "share of the device's peak that training reaches");
  share("--efficiency-generation", a->efficiencies.generation, "the same of generation");
  share("--efficiency-autoencoder", a->efficiencies.autoencoder, "the same of the autoencoder and the text encoders");
  share("--efficiency-rewards", a->efficiencies.rewards, "the same of the reward networks");
  share("--efficiency-link", a->efficiencies.link, "share of the bandwidth inside of a node");
  share("--efficiency-network", a->efficiencies.network, "share of the bandwidth between nodes");
  command->add_flag("--json", a->json, "print JSON");
  command->callback([a, &work] { work = [a] { return plan(*a); }; });
}

}  // namespace magicid::commands
