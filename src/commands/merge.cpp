// `magicid merge`: a transformer's weights with an adapter in them.

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "backbone/model_folder.h"
#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/version.h"
#include "commands/command_line.h"
#include "models/generator/adapter_merge.h"

namespace magicid::commands {
namespace {

struct MergeArguments {
  std::string model, adapter, out;
  double strength = 1;
};

int merge(const MergeArguments& a) {
  const auto folder = backbone::ModelFolder::open(a.model);
  auto file = folder.backbone().read_adapter(a.adapter, {});
  for (const auto& warning : file.warnings) base::log::warning(warning);
  file.adapter.scale_by(a.strength);
  const std::map<std::string, std::string> metadata{
      {"magicid_version", base::code_version()}, {"magicid_merged_adapter", base::hash_file(file.file)}, {"magicid_merged_strength", base::concat(a.strength)}};
  std::optional<base::Progress> progress;
  merge_adapter(folder.backbone().stored_linears(), file.adapter, a.out, metadata, [&](std::size_t files) {
    if (!progress) progress.emplace("weight files", static_cast<std::int64_t>(files), true);
    progress->advance();
  });
  base::log::info("wrote " + a.out + ": a transformer's folder; put it in place of the model's transformer/, and take no adapter with it");
  return 0;
}

}  // namespace

void add_merge(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("merge", "Write a transformer folder whose weights have a LoRA added to them");
  auto a = std::make_shared<MergeArguments>();
  command->add_option("--model", a->model, "pipeline folder as diffusers' save_pretrained writes it")->required();
  command->add_option("--adapter", a->adapter, "LoRA file or folder, of any layout that `sample --adapter` reads")->required();
  command->add_option("--strength", a->strength, "factor on the adapter")->capture_default_str();
  command->add_option("out", a->out, "folder to write: configuration and weights of the transformer")->required();
  command->callback([a, &work] { work = [a] { return merge(*a); }; });
}

}  // namespace magicid::commands
