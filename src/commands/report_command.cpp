// `magicid report`: gathers what the stages left and writes report.html.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>

#include "base/hash.h"
#include "base/log.h"
#include "commands/command_line.h"
#include "commands/fingerprints.h"
#include "commands/pairs_file.h"
#include "commands/prepared.h"
#include "commands/preview_rounds.h"
#include "commands/stages.h"
#include "config/writer.h"
#include "evaluation/evaluation.h"
#include "report/report.h"
#include "run_directory/metrics_log.h"
#include "storage/atomic_file.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using run_directory::Stage;

report::Rewards rewards_of(const json& numbers) {
  const auto number = [&](const char* name) { return numbers.at(name).is_null() ? report::unknown : numbers.at(name).get<double>(); };
  return {number("identity"), number("dynamics"), number("semantics")};
}

void add_candidates(report::ReportData& data, const PairsFile& file, const RunContext& context) {
  for (const auto& candidate : file.candidates)
    data.candidates.push_back({.key = candidate.at("key"),
                               .source = preference::source_from_string(candidate.at("source")),
                               .prompt = candidate.at("text"),
                               .raw = rewards_of(candidate.at("raw")),
                               .normalised = rewards_of(candidate.at("normalised")),
                               .front = candidate.at("front"),
                               .preview = {.path = context.layout().previews() / candidate.at("preview").get<std::string>()},
                               .rejected = candidate.at("rejection")});
  for (std::size_t i = 0; i < file.selection.pairs.size(); ++i) {
    const auto& p = file.selection.pairs[i];
    data.pairs.push_back({.kind = p.kind,
                          .winner = p.winner,
                          .loser = p.loser,
                          .condition = file.conditions[i],
                          .gap = {p.identity_gap, p.dynamics_gap, p.semantics_gap},
                          .winner_front = p.winner_front,
                          .loser_front = p.loser_front});
  }
  data.selection_notes = file.selection.notes;
  if (std::any_of(file.selection.pairs.begin(), file.selection.pairs.end(), [](const auto& p) { return p.loser_still; }))
    data.selection_notes.push_back("losers of identity pairs are trained as their first frame, held still; shown is the whole video");
}

void add_training(report::ReportData& data, const std::string& name, const fs::path& folder, const std::string& keep_best, const json& ranges) {
  report::TrainingStage stage{.name = name};
  std::vector<PreviewRound> rounds;
  for (const auto& line : run_directory::read_metrics(folder / "metrics.jsonl")) {
    if (auto round = preview_of_line(line)) {
      rounds.push_back(std::move(*round));
      continue;
    }
    report::MetricRecord record{.step = line.at("step")};
    for (const auto& [key, value] : line.items())
      if (key != "step" && (value.is_number() || value.is_null())) record.values[key] = value.is_null() ? report::unknown : value.get<double>();
    stage.records.push_back(std::move(record));
  }
  std::sort(rounds.begin(), rounds.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  const auto as_shown = [](const rewards::Rewards& r) { return report::Rewards{r.identity, r.dynamics, r.semantics}; };
  for (const auto& round : rounds) {
    stage.previews.push_back({.step = round.step, .mean = as_shown(round.mean()), .videos = {}});
    for (const auto& v : round.videos)
      stage.previews.back().videos.push_back({.prompt = v.prompt, .raw = as_shown(v.rewards), .video = {.bytes = {}, .path = folder / v.file}});
  }
  if (keep_best != "none") {
    if (const auto best = best_preview(rounds, keep_best, ranges)) {
      stage.taken = rounds[*best].step;
      stage.taken_why = why_best(rounds, *best, keep_best, ranges);
    }
  }
  data.training.push_back(std::move(stage));
}

void add_evaluation(report::ReportData& data, const RunContext& context) {
  const json evaluation = json::parse(storage::read_text(context.layout().evaluation()));
  auto& e = data.evaluation;
  e.interval = evaluation.at("interval");
  e.metrics = {{"face_similarity", "Face similarity", "Cosine of face embeddings with the photos, mean over frames with a face.", true},
               {"dynamic_degree", "Dynamic degree", "Mean of the largest 5% of optical flow, in pixels a sampled frame; artefacts count as motion.", true},
               {"dynamic", "Dynamic (VBench)", "Share of videos that VBench's rule calls dynamic.", true},
               {"temporal_consistency", "Temporal consistency", "Cosine of consecutive frames' CLIP features.", true},
               {"semantic", "Semantic reward",
                "R_sem as pairs are chosen by: cosine of prompt and frames in CLIP, or of a grid of frames (rewards.semantic_input).", true},
               {"clip_t", "CLIP-T", "Cosine of frames and prompt in CLIP, times 100.", true},
               {"clip_i", "CLIP-I", "Cosine of frames and photos in CLIP, times 100.", true}};
  const json& frechet = evaluation.at("frechet");
  std::string features = frechet.at("features").get<std::string>() + ".";
  if (frechet.contains("hint")) features += " Absent: it " + frechet.at("hint").get<std::string>() + ".";
  e.metrics.push_back(
      {frechet.at("metric"), frechet.at("metric") == "fvd" ? "FVD" : "CLIP Fréchet distance",
       "Distance between the sets of an arm's and of real videos, " + std::to_string(frechet.at("videos").get<std::size_t>()) + " of each: " + features,
       false});
  for (const auto& note : evaluation.at("notes")) e.notes.push_back(note);
  const auto number = [](const json& value) { return value.is_number() ? value.get<double>() : report::unknown; };
  const auto estimates = [&](const json& metrics) {
    std::vector<report::Estimate> list;
    for (const auto& metric : e.metrics) {
      const auto m = metrics.find(metric.name);
      list.push_back(m == metrics.end() ? report::Estimate{} : report::Estimate{number(m->at("mean")), number(m->at("low")), number(m->at("high"))});
    }
    return list;
  };
  for (const auto& arm : evaluation.at("arms")) {
    const std::string name = arm.at("arm");
    e.arms.push_back({.name = name, .label = evaluation::arm_label(name), .estimates = estimates(arm.at("metrics")), .videos = arm.at("videos")});
  }
  const auto& prompts = evaluation.at("prompts");
  for (const auto& row : evaluation.at("by_prompt"))
    e.by_prompt.push_back({.arm = row.at("arm"), .prompt = prompts.at(row.at("prompt").get<std::size_t>()), .estimates = estimates(row.at("metrics"))});
  for (const auto& video : evaluation.at("videos")) {
    const std::string arm = video.at("arm");
    report::EvaluationSample sample{.arm = arm, .prompt = prompts.at(video.at("prompt").get<std::size_t>())};
    sample.video.path = evaluation::video_file(evaluation, video, context.layout().previews());
    for (const auto& metric : e.metrics) sample.values.push_back(number(video.at("metrics").value(metric.name, json())));
    e.samples.push_back(std::move(sample));
  }
}

void add_adapters(report::ReportData& data, const RunContext& context) {
  const std::map<std::string, std::pair<std::string, std::string>> about{
      {"diffusers",
       {"For diffusers.",
        "import torch\nfrom diffusers import HunyuanVideoPipeline\n\npipe = HunyuanVideoPipeline.from_pretrained(MODEL_FOLDER, torch_dtype=torch.bfloat16)\n"
        "pipe.load_lora_weights(\"adapter\", weight_name=\"diffusers.safetensors\")\n"}},
      {"kohya",
       {"For musubi-tuner and tools with kohya's names.", "python hv_generate_video.py --lora_weight adapter/kohya.safetensors --lora_multiplier 1.0 ..."}},
      {"comfyui", {"For ComfyUI.", "Copy it to ComfyUI/models/loras and load it with the node \"LoraLoaderModelOnly\"."}}};
  for (const auto& format : context.config().export_.formats) {
    const fs::path file = context.layout().adapter() / (format + ".safetensors");
    std::error_code code;
    const auto bytes = fs::file_size(file, code);
    data.adapters.push_back({.name = "adapter/" + format + ".safetensors",
                             .format = format,
                             .bytes = code ? 0 : static_cast<std::int64_t>(bytes),
                             .description = about.at(format).first,
                             .snippet = about.at(format).second});
  }
}

std::string local_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  localtime_r(&now, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M %Z", &parts);
  return text;
}

report::ReportData gather(const RunContext& context) {
  const auto& c = context.config();
  report::ReportData data;
  data.run_name = context.layout().root.filename().string();
  data.created = local_time();
  data.code_version = "magicid " + code_version();
  if (has_random_weights(c.model.folder))
    data.notice = "The model's weights are random (magicid init-model). This report shows what a run leaves, not what the method does to pictures.";
  data.subject = {c.subject.trigger, c.subject.class_name};
  for (const auto& reference : Prepared::load(context.layout().prepared()).references)
    data.references.push_back({reference.file, {.bytes = reference.thumbnail}});
  const PairsFile pairs = PairsFile::load(context.layout().pairs());
  add_candidates(data, pairs, context);
  add_training(data, "reconstruct", context.layout().reconstruct(), "none", {});
  add_training(data, "optimize", context.layout().optimize(), c.optimize.keep_best, pairs.ranges);
  add_evaluation(data, context);
  add_adapters(data, context);
  data.next_steps = {"Sample with the adapter: magicid sample --model MODEL_FOLDER --adapter adapter/diffusers.safetensors --prompt \"a " + c.subject.trigger +
                         " " + c.subject.class_name + " ...\" --output video.mp4",
                     "Change a setting and start `magicid run` again: only the stages that it touches are made anew."};
  data.settings_yaml = storage::read_text(context.layout().config());
  return data;
}

}  // namespace

void write_report(RunContext& context) {
  require_predecessors(context, Stage::report);
  // The report shows what lies in the files, and not only what later stages take of them as results.
  json inputs{{"model", context.model().model}, {"keep_best", context.config().optimize.keep_best}};
  for (const Stage stage : {Stage::prepare, Stage::reconstruct, Stage::select, Stage::optimize, Stage::evaluate, Stage::adapter_export})
    inputs[run_directory::stage_name(stage)] = context.files_of(stage);
  context.stage(Stage::report, {context.options_of({"subject", "export"}), inputs}, [&] {
    comm::agree(context.world(), "writing the report", [&] {
      if (!context.leader()) return;
      report::write_report(context.layout().report(), gather(context));
      base::log::info("report: wrote " + context.layout().report().string());
    });
    return RunContext::StageResult{.files = {context.layout().report()}};
  });
}

}  // namespace magicid::commands
