// `magicid pretrain`: makes the networks of the small world.

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/version.h"
#include "comm/options.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "config/reader.h"
#include "config/writer.h"
#include "pretraining/pretraining.h"

namespace magicid::commands {
namespace {

struct PretrainArguments {
  std::string configuration;
  std::vector<std::string> overrides, only;
  bool keys = false;
};

// A word as a shell reads it back.
std::string shell_word(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%") == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

// What was typed, for the record.
std::string typed(const PretrainArguments& a) {
  std::string line = "magicid pretrain " + shell_word(a.configuration);
  for (const auto& change : a.overrides) line += " --set " + shell_word(change);
  for (std::size_t i = 0; i < a.only.size(); ++i) line += (i == 0 ? " --only " : ",") + a.only[i];
  return line;
}

int pretrain(const PretrainArguments& a) {
  pretraining::Options options;
  config::read(a.configuration, config::described(options), a.overrides);
  const auto world = comm::make_world(options.mesh);
  base::log::configure(base::log::Level::info, world->rank(), world->size());
  pretraining::pretrain(options,
                        {.only = a.only,
                         .placement = resolve({options.device, pretraining::computing_dtype(options)}),
                         .command = typed(a),
                         .code_version = base::code_version()},
                        *world);
  return 0;
}

constexpr const char* keys_introduction = R"(# Keys of pretraining

This page is printed by `magicid pretrain --keys`; it is not edited by hand. The rules are those of [configuration.md](configuration.md).

)";

int print_keys() {
  pretraining::Options options;
  std::cout << keys_introduction << config::reference_markdown(config::described(options)) << std::flush;
  return 0;
}

}  // namespace

void add_pretrain(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("pretrain", "Make the small world's networks from nothing: a pipeline folder and its reward networks");
  auto a = std::make_shared<PretrainArguments>();
  command->add_option("configuration", a->configuration, "YAML file, e.g. configs/miniature.yaml")->check(CLI::ExistingFile);
  command->add_option("--set", a->overrides, "key=value: overrides the file, e.g. --set transformer.steps=100");
  command->add_option("--only", a->only, "networks to make, by name; others must have been made where they are needed")->delimiter(',');
  command->add_flag("--keys", a->keys, "print every key of the configuration with type, default, range and meaning, as Markdown (docs/pretraining-keys.md)");
  command->callback([a, &work] {
    if (a->keys) work = print_keys;
    else if (a->configuration.empty()) throw CLI::RequiredError("configuration");
    else work = [a] { return pretrain(*a); };
  });
}

}  // namespace magicid::commands
