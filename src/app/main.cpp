// The outermost frame: command line in, exit code out (base/errors.h).

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/names.h"
#include "comm/launch.h"
#include "commands/command_line.h"

namespace {

int run(int argc, char** argv) {
  using namespace magicid;
  CLI::App app("MagicID: teaches a text-to-video diffusion transformer one person's face, without freezing the motion.", "magicid");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  commands::Work work;
  commands::add_commands(app, work);
  std::vector<std::string> names;
  for (const auto* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (argc > 1 && argv[1][0] != '-' && std::find(names.begin(), names.end(), argv[1]) == names.end())
    throw base::UserError("no command '", argv[1], "'", base::did_you_mean(argv[1], names), "; magicid --help lists the commands");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are not failures; all ranks come here together, one speaks.
    if (error.get_exit_code() == 0) {
      if (comm::launched_processes().rank == 0) app.exit(error);
      return 0;
    }
    if (comm::launched_processes().rank == 0) app.exit(error, std::cerr, std::cerr);
    return static_cast<int>(base::ExitCode::user);
  }
  return work();
}

}  // namespace

int main(int argc, char** argv) { return magicid::comm::run_as_rank(argc, argv, run); }
