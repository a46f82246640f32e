// The outermost frame: command line in, exit code out (base/errors.h).

#include <CLI/CLI.hpp>
#include <iostream>

#include "commands/command_line.h"
#include "comm/launch.h"

namespace {

int run(int argc, char** argv) {
  using namespace magicid;
  CLI::App app("MagicID: teaches a text-to-video diffusion transformer one person's face, without freezing the motion.", "magicid");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  commands::Work work;
  commands::add_commands(app, work);
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
