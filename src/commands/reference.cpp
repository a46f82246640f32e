// `magicid reference`: docs/configuration.md, printed from the options' own descriptions.

#include <CLI/CLI.hpp>
#include <iostream>

#include "commands/command_line.h"
#include "config/writer.h"
#include "pipeline/configuration.h"

namespace magicid::commands {
namespace {

constexpr const char* introduction = R"(# pipeline::Configuration

This page is printed by `magicid reference`; it is not edited by hand.

One YAML file configures the whole method. [configs/](../configs/) holds commented examples. Rules:

- Every key has a type. Unknown keys, wrong types and values out of range end the program before any work, with exit code 2, the file, the line and the
  nearest valid key.
- A relative path in the file is relative to the file; one after `--set` is relative to the current folder. `~/` is the home folder.
- `--set KEY=VALUE` wins over the file and may be repeated: `--set optimize.beta=50`. Lists are written `[a, b]`.
- The run directory's `config.yaml` holds every key with the value that was used.
- A stage runs again when a key that it depends on changes ([files.md](files.md#what-runs-again)).

)";

}  // namespace

void add_reference(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("reference", "Print every configuration key with type, default, range and meaning, as Markdown (docs/configuration.md)");
  command->callback([&work] {
    work = [] {
      pipeline::Configuration configuration;
      std::cout << introduction << config::reference_markdown(config::described(configuration)) << std::flush;
      return 0;
    };
  });
}

}  // namespace magicid::commands
