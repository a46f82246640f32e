// `magicid compare`: paired differences between arms, within runs or between them.

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "base/errors.h"
#include "base/text.h"
#include "commands/command_line.h"
#include "evaluation/comparison.h"
#include "storage/atomic_file.h"

namespace magicid::commands {
namespace {

struct CompareArguments {
  std::vector<std::string> runs, baseline_runs;
  evaluation::ComparisonOptions options;
  std::string out;
};

int compare(const CompareArguments& a) {
  std::vector<evaluation::EvaluatedRun> runs, baseline_runs;
  // The names stand in NAME.json.
  for (const auto& path : a.runs) runs.push_back(evaluation::read_evaluated_run(base::decode_text(path, "compare")));
  for (const auto& path : a.baseline_runs) baseline_runs.push_back(evaluation::read_evaluated_run(base::decode_text(path, "--baseline-runs")));
  const nlohmann::json comparison = evaluation::compare_runs(runs, baseline_runs, a.options);
  const std::string table = evaluation::comparison_markdown(comparison);
  if (!a.out.empty()) {
    storage::write_text_atomically(a.out + ".md", table);
    storage::write_text_atomically(a.out + ".json", comparison.dump(2) + "\n");
  }
  std::cout << table << std::flush;
  return 0;
}

}  // namespace

void add_compare(CLI::App& app, Work& work) {
  auto* command = app.add_subcommand("compare", "Paired differences between arms of finished evaluations, with bootstrap intervals clustered by person");
  auto a = std::make_shared<CompareArguments>();
  command->add_option("runs", a->runs, "run directories (or evaluation.json files); a run is one person and one seed")->required();
  command->add_option("--arm", a->options.arms, "arm that is compared; may be repeated. Default: every arm but the baseline")->allow_extra_args(false);
  command->add_option("--baseline", a->options.baseline, "arm that it is compared with")->capture_default_str();
  command->add_option("--baseline-runs", a->baseline_runs,
                      "take the baseline arm from these runs of the same people and seeds: compares a setting between runs");
  command->add_option("--metric", a->options.metrics, "figure; may be repeated. Default: all")->allow_extra_args(false);
  command->add_option("--confidence", a->options.confidence, "of the intervals")->capture_default_str()->check(CLI::Range(0.5, 0.999));
  command->add_option("--resamples", a->options.resamples, "of the bootstrap")->capture_default_str()->check(CLI::Range(100, 1000000));
  command->add_option("--out", a->out, "also write NAME.md and NAME.json");
  command->callback([a, &work] { work = [a] { return compare(*a); }; });
}

}  // namespace magicid::commands
