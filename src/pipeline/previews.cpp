#include "pipeline/previews.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "parallel/replicas.h"
#include "pipeline/candidates.h"
#include "pipeline/networks.h"
#include "pipeline/pairs_file.h"
#include "pipeline/prompt_checks.h"
#include "pipeline/scores.h"
#include "pipeline/stages.h"
#include "pipeline/video_scorer.h"
#include "run_directory/candidate_store.h"
#include "run_directory/checkpoints.h"
#include "run_directory/metrics_log.h"
#include "run_directory/segment_store.h"
#include "run_directory/set_aside.h"
#include "storage/files.h"
#include "training/schedule.h"
#include "work/from_leader.h"
#include "work/pieces.h"

namespace magicid::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const storage::Schema previews_schema{"magicid.previews", 1};
// Improvements are few and adapters small, so all of them stay until the end: a job that goes back to an earlier step finds what was the best then.
constexpr int all_generations = std::numeric_limits<int>::max();

std::string file_name(std::int64_t step, std::size_t video) {
  char name[64];
  std::snprintf(name, sizeof name, "step-%06lld-prompt-%zu.mp4", static_cast<long long>(step), video + 1);
  return name;
}

std::vector<std::int64_t> steps_in(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  for (const auto& path : storage::list_folder(folder)) {
    long long step = 0;
    int length = 0;
    const std::string name = path.filename().string();
    if (std::sscanf(name.c_str(), "checkpoint-%lld.h5%n", &step, &length) == 1 && static_cast<std::size_t>(length) == name.size()) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

double from_json(const json& value) { return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN(); }

}  // namespace

bool Previews::wanted() const { return run_.config().optimize.previews.every > 0; }
bool Previews::decides() const { return run_.config().optimize.keep_best != "none"; }
fs::path Previews::folder() const { return run_.layout().optimize() / "previews"; }
fs::path Previews::best_folder() const { return run_.layout().optimize() / "best"; }
fs::path Previews::stopped_folder() const { return folder() / "stopped"; }
fs::path Previews::latents_folder() const { return folder() / "latents"; }

Previews::Previews(session::Session& session, Run& run) : session_(session), run_(run) {
  if (!wanted()) return;
  const Configuration& c = run.config();
  comm::agree(session.world(), "planning the previews", [&] {
    const auto prompts = preview_prompts(c);
    for (const auto& prompt : prompts) templates_.push_back(prompt.text);
    if (session.leader()) check_triggers(run, prompts);
  });
  if (decides()) read();
}

void Previews::read() {
  if (!scorer_.is_null()) return;
  comm::agree(session_.world(), "reading what previews are scored by", [&] {
    prepared_ = Prepared::load(run_.layout().prepared());
    ranges_ = PairsFile::load(run_.layout().pairs()).ranges;
  });
  scorer_ = scorer_description(session_, run_);
}

json Previews::inputs() const {
  if (!decides()) return nullptr;
  const Configuration& c = run_.config();
  json videos = json::array();
  for (const auto& planned : plan_previews(c, templates_, run_.model(), "")) videos.push_back(planned.key);
  json inputs{{"rule", c.optimize.keep_best}, {"every", c.optimize.previews.every}, {"videos", base::hash_json(videos)}, {"scorer", base::hash_json(scorer_)}};
  if (c.optimize.keep_best == "sum") inputs["ranges"] = to_json(ranges_);
  return inputs;
}

void Previews::prepare() {
  if (!wanted()) return;
  read();
  std::set<std::string> missing;
  for (const auto& prompt_template : templates_) {
    const std::string text = render_prompt(prompt_template, run_.config().subject, true);
    if (!prepared_.prompts.contains(text)) missing.insert(text);
  }
  if (missing.empty()) return;
  prepared_.prompts.merge(encode_prompts_once(session_, run_, "encoding the previews' prompts", {missing.begin(), missing.end()}));
}

void Previews::begin(models::generator::Adapter& policy, TrainingFiles& files) {
  if (!wanted()) return;
  policy_ = &policy;
  files_ = &files;
  const std::int64_t step = files.resume(session_, run_, policy);
  // Steps that an earlier job left, each with whether its adapter is in a file; rank 0 knows.
  const json left = work::from_leader(session_.world(), "looking for finished previews", [&] {
    json found = json::array();
    for (const auto& path : {folder(), stopped_folder(), best_folder()}) run_directory::remove_leftovers(path);
    std::set<std::int64_t> logged;
    for (const auto& line : run_directory::read_metrics(files.folder() / "metrics.jsonl"))
      if (auto round = preview_of_line(line); round && logged.insert(round->step).second) rounds_.push_back(std::move(*round));
    for (const std::int64_t stopped : steps_in(stopped_folder()))
      if (stopped <= step && logged.insert(stopped).second) found.push_back({{"step", stopped}, {"saved", true}});
    if (training::preview_is_due(step, run_.config().optimize.previews.every, run_.config().optimize.training.steps) && logged.insert(step).second)
      found.push_back({{"step", step}, {"saved", false}});
    return found;
  });
  for (const auto& round : left) {
    const auto at = round.at("step").get<std::int64_t>();
    std::optional<models::generator::Adapter> saved;
    if (round.at("saved").get<bool>())
      comm::agree(session_.world(), "reading the adapter of a stopped preview",
                  [&] { saved = read_checkpoint_adapter(session_, run_, run_directory::checkpoint_path(stopped_folder(), at)); });
    if (!make(at, saved ? *saved : policy))
      throw base::RequeueRequest("optimize: stopped on request during previews; finished videos are kept. Start the same command again to go on.");
  }
}

training::StepHooks Previews::add_to(training::StepHooks hooks) {
  if (!wanted()) return hooks;
  hooks.after_step = [this](const training::StepRecord& done) {
    const auto& options = run_.config().optimize;
    if (!training::preview_is_due(done.step, options.previews.every, options.training.steps)) return;
    if (make(done.step, *policy_)) return;
    comm::agree(session_.world(), "saving the adapter of a stopped preview", [&] {
      if (session_.leader())
        run_directory::save_checkpoint(stopped_folder(), done.step, checkpoint_tensors(*policy_), {{"stage", "optimize"}},
                                       {.generations = all_generations, .keep_as = {}});
    });
    // Else the loop sees the request at its next step, and saves.
    if (done.step == options.training.steps)
      throw base::RequeueRequest("optimize: stopped on request during the last previews; finished videos are kept. Start the same command again to go on.");
  };
  return hooks;
}

void Previews::sample(const Batch& batch, const models::generator::Adapter& adapter, run_directory::CandidateStore& latents) {
  const auto& plan = batch.plan;
  std::vector<std::size_t> unsampled;
  for (const std::size_t k :
       work::find_missing(session_.world(), batch.missing.size(), [&](std::size_t i) { return latents.contains(plan[batch.missing[i]].key); }))
    unsampled.push_back(batch.missing[k]);
  if (unsampled.empty()) return;
  const models::generator::Adapter frozen = adapter.frozen_copy(session_.placement());
  const CandidateSampler sample(session_, run_);
  const auto make_latents = [&](std::size_t i, work::Pulse& pulse) { return sample(plan[i], prepared_, &frozen, pulse).cpu(); };
  work::work_through_together(
      work_ranks(session_), {base::concat("previews of step ", batch.step), unsampled, plan.size()}, make_latents,
      [&](std::size_t i, const at::Tensor& sampled) { latents.put({.description = plan[i].description, .metadata = {}, .latents = sampled}); });
}

void Previews::score(const Batch& batch, run_directory::CandidateStore& latents, run_directory::SegmentStore& store) {
  std::optional<VideoScorer> scorer;
  work::work_through(session_.world(), {base::concat("scores of previews of step ", batch.step), batch.missing, batch.plan.size()},
                     [&](std::size_t i, work::Pulse&) {
                       if (!scorer) scorer.emplace(session_, run_);
                       const auto sampled = latents.find(batch.plan[i].key);
                       if (!sampled)
                         throw base::UserError(latents_folder().string(), ": the latents of preview ", batch.plan[i].key,
                                               " are missing or damaged; start the same command again");
                       const fs::path file = folder() / file_name(batch.step, i);
                       const auto raw = (*scorer)(sampled->latents, batch.plan[i].text, prepared_.face_embeddings, file).raw;
                       store.put({.description = batch.descriptions[i],
                                  .metadata = {{"identity", number_or_null(raw.identity)},
                                               {"dynamics", number_or_null(raw.dynamics)},
                                               {"semantics", number_or_null(raw.semantics)},
                                               {"file", base::hash_file(file)},
                                               {"rank", session_.world().rank()}},
                                  .tensors = {}});
                     });
}

bool Previews::make(std::int64_t step, const models::generator::Adapter& adapter) {
  const c10::AutoGradMode no_grad(false);
  const auto start = std::chrono::steady_clock::now();
  Batch batch{.step = step,
              .plan = plan_previews(run_.config(), templates_, run_.model(), parallel::hash_of(adapter.flat_parameters())),
              .descriptions = {},
              .missing = {}};
  run_directory::SegmentStore store(folder(), previews_schema);
  const auto& plan = batch.plan;
  for (const auto& planned : plan) batch.descriptions.push_back({{"video", planned.description}, {"scorer", scorer_for(scorer_, planned)}});
  batch.missing = work::find_missing(session_.world(), plan.size(), [&](std::size_t i) {
    const auto found = store.find(run_directory::content_key(batch.descriptions[i]));
    const fs::path file = folder() / file_name(step, i);
    return found && fs::exists(file) && base::hash_file(file) == found->metadata.at("file");
  });
  const auto make_missing = [&] {
    run_directory::CandidateStore latents(latents_folder());
    sample(batch, adapter, latents);
    latents.refresh();
    score(batch, latents, store);
  };
  const bool finished = batch.missing.empty() || work::finished_unless_stopped(session_.world(), make_missing);
  session_.networks().let_go("training needs the memory");
  if (!finished) return false;
  comm::agree(session_.world(), "recording previews", [&] {
    if (!session_.leader()) return;
    store.refresh();
    PreviewRound round{.step = step};
    for (std::size_t i = 0; i < plan.size(); ++i) {
      const auto found = store.find(run_directory::content_key(batch.descriptions[i]));
      if (!found)
        throw base::UserError((folder() / file_name(step, i)).string(), ": the scores of this preview are missing or damaged; start the same command again");
      const json& m = found->metadata;
      round.videos.push_back(
          {plan[i].text, "previews/" + file_name(step, i), {from_json(m.at("identity")), from_json(m.at("dynamics")), from_json(m.at("semantics"))}});
    }
    std::error_code code;
    fs::remove_all(latents_folder(), code);
    round.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    record(std::move(round), adapter);
  });
  return true;
}

void Previews::record(PreviewRound round, const models::generator::Adapter& adapter) {
  const auto& rule = run_.config().optimize.keep_best;
  rounds_.push_back(round);
  // The adapter first: a line in the log says that it is there.
  if (decides() && best_preview(rounds_, rule, ranges_) == rounds_.size() - 1)
    run_directory::save_checkpoint(best_folder(), round.step, checkpoint_tensors(adapter),
                                   {{"stage", "optimize"}, {"rule", rule}, {"score", preview_score(rule, round.mean(), ranges_)}},
                                   {.generations = all_generations, .keep_as = {}});
  const rewards::Rewards mean = round.mean();
  base::log::info(
      base::concat("optimize: previews of step ", round.step, ": identity ", mean.identity, ", dynamics ", mean.dynamics, ", semantics ", mean.semantics));
  files_->log(round.step, preview_scalars(round), preview_details(round));
  std::error_code code;
  fs::remove(run_directory::checkpoint_path(stopped_folder(), round.step), code);
  std::sort(rounds_.begin(), rounds_.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
}

Run::StageResult Previews::result(Run::StageResult last) {
  if (!wanted()) return last;
  comm::agree(session_.world(), "choosing the adapter", [&] {
    if (!session_.leader()) return;
    run_directory::SegmentStore(folder(), previews_schema).merge();
    if (!decides()) return;
    const auto& options = run_.config().optimize;
    const auto best = best_preview(rounds_, options.keep_best, ranges_);
    if (!best) {
      base::log::warning(base::concat("optimize: no preview step has a finite score under keep_best: ", options.keep_best, "; the last adapter is the result"));
      return;
    }
    const std::int64_t step = rounds_[*best].step;
    const fs::path path = run_directory::checkpoint_path(best_folder(), step);
    if (!fs::exists(path))
      throw base::UserError(path.string(), ": is missing, and step ", step, " is the best under keep_best: ", options.keep_best, ". Move ",
                            files_->folder().string(), " away to train again, or set optimize.keep_best: none");
    last.files = {path, files_->folder() / "metrics.jsonl"};
    last.result = parallel::hash_of(read_checkpoint_adapter(session_, run_, path).flat_parameters());
    const std::string message = base::concat("optimize: the adapter of step ", step, " of ", options.training.steps,
                                             " is the result: ", why_best(rounds_, *best, options.keep_best, ranges_));
    if (step == 0) base::log::warning(message + ". That is stage 1's adapter: no later one did better under this rule");
    else base::log::info(message);
    std::error_code code;
    for (const std::int64_t other : steps_in(best_folder()))
      if (other != step) fs::remove(run_directory::checkpoint_path(best_folder(), other), code);
  });
  return last;
}

}  // namespace magicid::pipeline
