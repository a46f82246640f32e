// `magicid report`: gathers what the stages left and writes report.html.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>

#include "base/hash.h"
#include "base/log.h"
#include "base/version.h"
#include "config/writer.h"
#include "evaluation/evaluation.h"
#include "pipeline/fingerprints.h"
#include "pipeline/pairs_file.h"
#include "pipeline/prepared.h"
#include "pipeline/preview_rounds.h"
#include "report/report.h"
#include "report/run_report.h"
#include "run_directory/metrics_log.h"
#include "storage/atomic_file.h"

namespace magicid::report {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using run_directory::Stage;

report::ShownRewards shown(const rewards::Rewards& r) {
  const auto number = [](double value) { return std::isfinite(value) ? value : report::unknown; };
  return {number(r.identity), number(r.dynamics), number(r.semantics)};
}

void add_candidates(report::ReportData& data, const pipeline::PairsFile& file, const pipeline::Run& run) {
  for (const auto& candidate : file.candidates)
    data.candidates.push_back({.key = candidate.key,
                               .source = candidate.source,
                               .prompt = candidate.text,
                               .raw = shown(candidate.raw),
                               .normalised = shown(candidate.normalised),
                               .front = candidate.front,
                               .preview = {.path = run.layout().previews() / candidate.preview},
                               .rejected = candidate.rejection});
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

void add_training(report::ReportData& data, const std::string& name, const fs::path& folder, const std::string& keep_best,
                  const pipeline::RewardRanges& ranges) {
  report::TrainingStage stage{.name = name};
  std::vector<pipeline::PreviewRound> rounds;
  for (const auto& line : run_directory::read_metrics(folder / "metrics.jsonl")) {
    if (auto round = pipeline::preview_of_line(line)) {
      rounds.push_back(std::move(*round));
      continue;
    }
    report::MetricRecord record{.step = line.at("step")};
    for (const auto& [key, value] : line.items())
      if (key != "step" && (value.is_number() || value.is_null())) record.values[key] = value.is_null() ? report::unknown : value.get<double>();
    stage.records.push_back(std::move(record));
  }
  std::sort(rounds.begin(), rounds.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  for (const auto& round : rounds) {
    stage.previews.push_back({.step = round.step, .mean = shown(round.mean()), .videos = {}});
    for (const auto& v : round.videos)
      stage.previews.back().videos.push_back({.prompt = v.prompt, .raw = shown(v.rewards), .video = {.bytes = {}, .path = folder / v.file}});
  }
  if (keep_best != "none") {
    if (const auto best = pipeline::best_preview(rounds, keep_best, ranges)) {
      stage.taken = rounds[*best].step;
      stage.taken_why = pipeline::why_best(rounds, *best, keep_best, ranges);
    }
  }
  data.training.push_back(std::move(stage));
}

void add_evaluation(report::ReportData& data, const pipeline::Run& run) {
  const json evaluation = json::parse(storage::read_text(run.layout().evaluation()));
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
    sample.video.path = evaluation::video_file(evaluation, video, run.layout().previews());
    for (const auto& metric : e.metrics) sample.values.push_back(number(video.at("metrics").value(metric.name, json())));
    e.samples.push_back(std::move(sample));
  }
}

void add_adapters(report::ReportData& data, const pipeline::Run& run) {
  const std::map<std::string, std::pair<std::string, std::string>> about{
      {"diffusers",
       {"For diffusers.",
        "import torch\nfrom diffusers import HunyuanVideoPipeline\n\npipe = HunyuanVideoPipeline.from_pretrained(MODEL_FOLDER, torch_dtype=torch.bfloat16)\n"
        "pipe.load_lora_weights(\"adapter\", weight_name=\"diffusers.safetensors\")\n"}},
      {"kohya",
       {"For musubi-tuner and tools with kohya's names.", "python hv_generate_video.py --lora_weight adapter/kohya.safetensors --lora_multiplier 1.0 ..."}},
      {"comfyui", {"For ComfyUI.", "Copy it to ComfyUI/models/loras and load it with the node \"LoraLoaderModelOnly\"."}}};
  for (const auto& format : run.config().export_.formats) {
    const fs::path file = run.layout().adapter() / (format + ".safetensors");
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

report::ReportData gather(const pipeline::Run& run) {
  const auto& c = run.config();
  report::ReportData data;
  data.run_name = run.layout().root.filename().string();
  data.created = local_time();
  data.code_version = "magicid " + base::code_version();
  if (backbone::has_random_weights(c.model.folder))
    data.notice = "The model's weights are random (magicid init-model). This report shows what a run leaves, not what the method does to pictures.";
  data.subject = {c.subject.trigger, c.subject.class_name};
  for (const auto& reference : pipeline::Prepared::load(run.layout().prepared()).references)
    data.references.push_back({reference.file, {.bytes = reference.thumbnail}});
  const pipeline::PairsFile pairs = pipeline::PairsFile::load(run.layout().pairs());
  add_candidates(data, pairs, run);
  add_training(data, "reconstruct", run.layout().reconstruct(), "none", pipeline::RewardRanges{});
  add_training(data, "optimize", run.layout().optimize(), c.optimize.keep_best, pairs.ranges);
  add_evaluation(data, run);
  add_adapters(data, run);
  data.next_steps = {"Sample with the adapter: magicid sample --model MODEL_FOLDER --adapter adapter/diffusers.safetensors --prompt \"a " + c.subject.trigger +
                         " " + c.subject.class_name + " ...\" --output video.mp4",
                     "Change a setting and start `magicid run` again: only the stages that it touches are made anew."};
  data.settings_yaml = storage::read_text(run.layout().config());
  return data;
}

}  // namespace

void write_run_report(session::Session& session, pipeline::Run& run) {
  pipeline::require_predecessors(session, run, Stage::report);
  // The report shows what lies in the files, and not only what later stages take of them as results.
  json inputs{{"model", run.model().model}, {"keep_best", run.config().optimize.keep_best}};
  for (const Stage stage : {Stage::prepare, Stage::reconstruct, Stage::select, Stage::optimize, Stage::evaluate, Stage::adapter_export})
    inputs[run_directory::stage_name(stage)] = run.files_of(session, stage);
  run.stage(session, Stage::report, {run.options_of({"subject", "export"}), inputs}, [&] {
    comm::agree(session.world(), "writing the report", [&] {
      if (!session.leader()) return;
      report::write_report(run.layout().report(), gather(run));
      base::log::info("report: wrote " + run.layout().report().string());
    });
    return pipeline::Run::StageResult{.files = {run.layout().report()}};
  });
}

}  // namespace magicid::report
