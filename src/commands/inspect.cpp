// `magicid inspect`: what a file or folder of weights is, what it lacks, and the command that makes it usable.

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands/command_line.h"
#include "imports/import.h"

namespace magicid::commands {
namespace {

int show_inspection(const std::string& path, bool json) {
  const auto parts = imports::inspect(path);
  if (json) {
    nlohmann::json all = nlohmann::json::array();
    for (const auto& part : parts) all.push_back(imports::as_json(part));
    std::cout << all.dump(2) << '\n';
  } else {
    for (const auto& part : parts) std::cout << imports::as_text(part) << '\n';
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Work& work) {
  struct Arguments {
    std::string path;
    bool json = false;
  };
  auto* command = app.add_subcommand("inspect", "Say what a file or folder of weights is, what is missing or surplus, and the command that makes it usable");
  auto a = std::make_shared<Arguments>();
  command->add_option("path", a->path, "file (.safetensors, .pt, .pth, .bin, .onnx), a network's folder, or a pipeline folder")->required();
  command->add_flag("--json", a->json, "a list with an object for each network");
  command->callback([a, &work] { work = [a] { return show_inspection(a->path, a->json); }; });
}

}  // namespace magicid::commands
