// `magicid adapter`: what an adapter's file holds, and how strong it is.

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "backbone/model_folder.h"
#include "base/log.h"
#include "commands/command_line.h"
#include "models/generator/adapter_summary.h"

namespace magicid::commands {
namespace {

using models::generator::AdapterSummary;
using models::generator::LoadedAdapter;
using nlohmann::json;

std::string line(const std::string& name, std::size_t modules, const std::string& rank, double product, const std::optional<double>& weight) {
  char text[160];
  int length = std::snprintf(text, sizeof text, "%-28s %8zu %8s %11.4g", name.c_str(), modules, rank.c_str(), product);
  if (weight) length += std::snprintf(text + length, sizeof text - static_cast<std::size_t>(length), " %11.4g %11.4g", *weight, product / *weight);
  return std::string(text, static_cast<std::size_t>(length)) + "\n";
}

// "16", or the smallest and the largest: "16-64".
template <class Numbers>
std::string range(const Numbers& numbers) {
  std::ostringstream text;
  text << *numbers.begin();
  if (numbers.size() > 1) text << "-" << *numbers.rbegin();
  return text.str();
}

struct Sizes {
  std::set<std::int64_t> ranks;
  std::set<double> alphas;
  std::size_t modules = 0;
};

// Of the modules whose names begin with `block`.
Sizes sizes_of(const AdapterSummary& summary, const std::string& block) {
  Sizes sizes;
  for (const auto& m : summary.modules) {
    if (!m.module.name.starts_with(block)) continue;
    sizes.ranks.insert(m.module.rank), sizes.alphas.insert(m.module.alpha), ++sizes.modules;
  }
  return sizes;
}

void print_table(const LoadedAdapter& file, const AdapterSummary& summary, bool with_model) {
  const Sizes all = sizes_of(summary, "");
  std::cout << "file        " << file.file.string() << "\nlayout      " << file.layout << "\nrank        " << range(all.ranks) << "\nalpha       "
            << range(all.alphas) << "\nmodules     " << all.modules << "\nparameters  " << summary.parameters << "\n";
  for (const auto& [key, value] : file.metadata)
    if (key.starts_with("magicid_") || key.starts_with("modelspec.") || key.starts_with("ss_")) std::cout << key << "  " << value << "\n";
  std::cout << "\nblock                         modules     rank        |BA|" << (with_model ? "         |W|    |BA|/|W|" : "") << "\n";
  std::optional<double> weights;
  for (const auto& block : summary.blocks) {
    const Sizes sizes = sizes_of(summary, block.block + ".");
    std::cout << line(block.block, sizes.modules, range(sizes.ranks), block.product, block.weight);
    if (block.weight) weights = std::hypot(weights.value_or(0), *block.weight);
  }
  std::cout << line("all", all.modules, range(all.ranks), summary.product, weights);
}

json to_json(const LoadedAdapter& file, const AdapterSummary& summary) {
  json modules = json::array(), blocks = json::array();
  const auto add_weight = [](json& to, double product, const std::optional<double>& weight) {
    if (weight) to["weight_norm"] = *weight, to["relative"] = product / *weight;
  };
  for (const auto& m : summary.modules) {
    modules.push_back({{"name", m.module.name}, {"rank", m.module.rank}, {"alpha", m.module.alpha}, {"norm", m.product}, {"finite", m.finite}});
    add_weight(modules.back(), m.product, m.weight);
  }
  for (const auto& b : summary.blocks) {
    blocks.push_back({{"name", b.block}, {"norm", b.product}});
    add_weight(blocks.back(), b.product, b.weight);
  }
  auto warnings = file.warnings;
  warnings.insert(warnings.end(), summary.warnings.begin(), summary.warnings.end());
  return {{"file", file.file.string()}, {"layout", file.layout},     {"parameters", summary.parameters},
          {"norm", summary.product},    {"metadata", file.metadata}, {"modules", modules},
          {"blocks", blocks},           {"warnings", warnings}};
}

int show(const std::string& path, const std::string& model, bool as_json) {
  std::optional<LoadedAdapter> file;
  AdapterSummary summary;
  if (model.empty()) {
    file = backbone::read_adapter_alone(path);
    summary = summarize(file->adapter);
  } else {
    const auto folder = backbone::ModelFolder::open(model);
    file = folder.backbone().read_adapter(path, {});
    const auto stored = folder.backbone().stored_linears();
    summary = summarize(file->adapter, [&](const std::string& module) { return stored.norm(module); });
  }
  if (as_json) std::cout << to_json(*file, summary).dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  else print_table(*file, summary, !model.empty());
  std::cout << std::flush;
  for (const auto& warning : file->warnings) base::log::warning(warning);
  for (const auto& warning : summary.warnings) base::log::warning(file->file.string() + ": " + warning);
  return 0;
}

}  // namespace

void add_adapter(CLI::App& app, Work& work) {
  struct Arguments {
    std::string file, model;
    bool as_json = false;
  };
  auto* command = app.add_subcommand("adapter", "What a LoRA file holds: layout, rank, alpha, and how much it changes each block of the model");
  auto a = std::make_shared<Arguments>();
  command->add_option("file", a->file, "LoRA file or folder, of any layout that `sample --adapter` reads")->required();
  command->add_option("--model", a->model, "pipeline folder that it is for: checks that it fits, and adds the model's own norms");
  command->add_flag("--json", a->as_json, "print JSON, with every module");
  command->callback([a, &work] { work = [a] { return show(a->file, a->model, a->as_json); }; });
}

}  // namespace magicid::commands
