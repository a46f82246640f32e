// The verbs of the command line. Each file of commands/ adds its own.
#pragma once

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace magicid::commands {

// What the chosen verb does, called after parsing; returns the exit code.
using Work = std::function<int()>;

void add_commands(CLI::App& app, Work& work);

// One function for each file that holds verbs.
void add_probe(CLI::App& app, Work& work);
void add_probe_prompt(CLI::App& probe, Work& work);  // below `probe`
void add_probe_hpo(CLI::App& probe, Work& work);
void add_probe_vqa(CLI::App& probe, Work& work);
void add_tokenize(CLI::App& app, Work& work);
void add_run(CLI::App& app, Work& work);  // `run` and its stages
void add_compare(CLI::App& app, Work& work);
void add_sheet(CLI::App& app, Work& work);
void add_sample(CLI::App& app, Work& work);
void add_adapter(CLI::App& app, Work& work);
void add_merge(CLI::App& app, Work& work);
void add_init_model(CLI::App& app, Work& work);
void add_inspect(CLI::App& app, Work& work);
void add_import(CLI::App& app, Work& work);
void add_plan(CLI::App& app, Work& work);
void add_pretrain(CLI::App& app, Work& work);
void add_world(CLI::App& app, Work& work);
void add_reference(CLI::App& app, Work& work);

}  // namespace magicid::commands
