// `magicid import`: published weights, in any of their layouts, to a folder that this program reads.

#include <CLI/CLI.hpp>
#include <memory>

#include "base/log.h"
#include "commands/command_line.h"
#include "imports/import.h"
#include "imports/kinds.h"

namespace magicid::commands {

void add_import(CLI::App& app, Work& work) {
  struct Arguments {
    std::string source, out;
    imports::ImportOptions options;
  };
  auto* command = app.add_subcommand("import", "Write published weights (.pt, .pth, single safetensors, ONNX) as a folder that this program reads");
  auto a = std::make_shared<Arguments>();
  auto known = imports::kinds();
  known.insert(known.begin(), "auto");
  command->add_option("source", a->source, "file or folder of weights; `magicid inspect` says what it is")->required();
  command->add_option("out", a->out, "folder to write")->required();
  command->add_option("--as", a->options.kind, "what it is; auto tells by the tensors' names")->check(CLI::IsMember(known))->capture_default_str();
  command->add_option("--config", a->options.config, "a config.json to take in place of the sizes that the tensors' shapes tell");
  command->add_flag("--drop-surplus", a->options.drop_surplus, "leave out tensors that the network does not have");
  command->callback([a, &work] {
    work = [a] {
      base::log::info("wrote " + imports::import_weights(a->source, a->out, a->options));
      return 0;
    };
  });
}

}  // namespace magicid::commands
