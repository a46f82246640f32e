#include "commands/command_line.h"

#include <CLI/CLI.hpp>

#include "base/version.h"

namespace magicid::commands {

void add_commands(CLI::App& app, Work& work) {
  app.set_version_flag("--version", "magicid " + base::code_version());
  add_run(app, work);
  add_compare(app, work);
  add_sheet(app, work);
  add_sample(app, work);
  add_adapter(app, work);
  add_merge(app, work);
  add_probe(app, work);
  add_tokenize(app, work);
  add_init_model(app, work);
  add_inspect(app, work);
  add_import(app, work);
  add_world(app, work);
  add_plan(app, work);
  add_pretrain(app, work);
  add_reference(app, work);
}

}  // namespace magicid::commands
