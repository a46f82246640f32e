// `magicid run` and its stages one by one: prepare, reconstruct, generate, score, select, optimize, evaluate, export, report.

#include <CLI/CLI.hpp>
#include <memory>

#include "commands/command_line.h"
#include "pipeline/preflight.h"
#include "pipeline/prompt_checks.h"
#include "pipeline/stages.h"
#include "report/run_report.h"

namespace magicid::commands {
namespace {

using Stage = void (*)(session::Session&, pipeline::Run&);

struct RunArguments {
  std::string configuration;
  std::vector<std::string> overrides;
  bool accept_other_model = false;
};

int run(const RunArguments& a, const std::vector<Stage>& stages) {
  auto configuration = pipeline::read_configuration(a.configuration, a.overrides);
  const auto session = session::Session::open(pipeline::session_options(configuration));
  const auto run = pipeline::Run::open(*session, std::move(configuration), a.accept_other_model);
  for (const auto stage : stages) stage(*session, *run);
  return 0;
}

void add_stage_command(CLI::App& app, Work& work, const char* name, const char* help, std::vector<Stage> stages) {
  auto* command = app.add_subcommand(name, help);
  auto a = std::make_shared<RunArguments>();
  command->add_option("configuration", a->configuration, "YAML file (docs/configuration.md)")->required();
  command->add_option("--set", a->overrides, "KEY=VALUE that wins over the file, e.g. --set optimize.beta=50; may be repeated")->allow_extra_args(false);
  command->add_flag("--accept-other-model", a->accept_other_model, "go on in a run directory that was made with another model");
  command->callback([a, stages, &work] { work = [a, stages] { return run(*a, stages); }; });
}

}  // namespace

void add_run(CLI::App& app, Work& work) {
  using namespace pipeline;
  add_stage_command(app, work, "run", "The whole method: photos to adapter and report. Start it again to go on where it stopped",
                    {check_layout, check_prompt_files, check_before_run, prepare, reconstruct, generate, score, select, optimize, evaluate, export_adapter,
                     report::write_run_report});
  add_stage_command(app, work, "preflight", "Before any work: files by their headers, photos, prompts, memory, disk; what stands in the way of this run",
                    {show_preflight});
  add_stage_command(app, work, "prepare", "Photos to latents and embeddings, prompts to text embeddings", {prepare});
  add_stage_command(app, work, "reconstruct", "Stage 1: the adapter learns the photos", {reconstruct});
  add_stage_command(app, work, "generate", "Candidate videos: stills, the initial model's and the fine-tuned model's", {generate});
  add_stage_command(app, work, "score", "Identity, dynamics and semantics of every candidate", {score});
  add_stage_command(app, work, "select", "Preference pairs by Pareto fronts", {select});
  add_stage_command(app, work, "optimize", "Stage 2: hybrid preference optimization", {check_layout, optimize});
  add_stage_command(app, work, "evaluate",
                    "Face similarity, dynamic degree, consistency, CLIP scores and FVD of base, stage 1, HPO and folders of other videos", {evaluate});
  add_stage_command(app, work, "export", "The adapter as files for diffusers, musubi-tuner and ComfyUI", {export_adapter});
  add_stage_command(app, work, "report", "report.html: pairs, fronts, curves and figures to look at", {report::write_run_report});
}

}  // namespace magicid::commands
