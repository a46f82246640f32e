// `magicid optimize`: hybrid preference optimization of the adapter on the selected pairs.

#include <map>
#include <optional>

#include "base/errors.h"
#include "base/log.h"
#include "objectives/hpo.h"
#include "pipeline/candidates.h"
#include "pipeline/fingerprints.h"
#include "pipeline/pairs_file.h"
#include "pipeline/previews.h"
#include "pipeline/stages.h"
#include "pipeline/still_losers.h"
#include "pipeline/training_files.h"
#include "pipeline/training_speed.h"
#include "run_directory/candidate_store.h"
#include "training/step_loop.h"

namespace magicid::pipeline {
namespace {

using run_directory::Stage;

std::vector<objectives::HpoPair> load_pairs(session::Session& session, Run& run, const PairsFile& file, const std::map<std::string, std::string>& stills,
                                            const Prepared& prepared) {
  run_directory::CandidateStore store(run.layout().candidates());
  std::map<std::string, at::Tensor> latents;  // a video stands in several pairs
  const auto read = [&](const std::string& key) {
    const auto known = latents.find(key);
    if (known != latents.end()) return known->second;
    const auto candidate = store.find(key);
    if (!candidate)
      throw base::UserError(run.layout().candidates().string(), ": candidate ", key, " of a pair is missing or damaged; run `magicid generate` again");
    return latents.emplace(key, candidate->latents).first->second;
  };
  std::vector<objectives::HpoPair> pairs;
  for (std::size_t i = 0; i < file.selection.pairs.size(); ++i) {
    const auto& pair = file.selection.pairs[i];
    const std::string& loser = pair.loser_still ? stills.at(pair.loser) : pair.loser;
    pairs.push_back({.winner = read(pair.winner), .loser = read(loser), .condition = prepared.prompt(file.conditions[i]), .kind = pair.kind});
  }
  return pairs;
}

// The gradient factor lies in (0, beta/2): when nearly all of it is gone the pairs teach nothing any more.
training::StepHooks with_saturation_warning(training::StepHooks hooks) {
  auto record = hooks.record;
  auto smoothed = std::make_shared<double>(0);
  auto warned = std::make_shared<bool>(false);
  hooks.record = [record, smoothed, warned](const training::StepRecord& r) {
    *smoothed += 0.1 * (r.metrics.at("saturation") - *smoothed);
    if (!*warned && *smoothed > 0.9) {
      *warned = true;
      base::log::warning(
          base::concat("optimize: from step ", r.step,
                       " on the gradient factor is below a tenth of its start: the pairs are won. A smaller optimize.beta or fewer steps may do better."));
    }
    record(r);
  };
  return hooks;
}

// Every pair: two predictions of the reference, unless they are known from an earlier step, and forward and backward of winner and loser.
std::function<TrainingWork(const training::StepRecord&)> work_of(session::Session& session, const Run& run, const objectives::Hpo& objective,
                                                                 bool reference_adapted) {
  const auto counter = std::make_shared<WorkCounter>(WorkCounter::of(run));
  const std::int64_t batch = run.config().optimize.training.global_batch;
  return [counter, &objective, reference_adapted, batch](const training::StepRecord& done) {
    const double predicted = 1 - done.metrics.at("reference_known");
    TrainingWork work;
    for (std::int64_t slot = 0; slot < batch; ++slot) {
      const auto& pair = objective.pair_of((done.step - 1) * batch + slot);
      for (const auto& latents : {pair.winner, pair.loser}) {
        const auto tokens = counter->tokens_of(latents, pair.condition);
        work += counter->trained(tokens);
        work += counter->predicted(tokens, reference_adapted) * predicted;
      }
    }
    return work;
  };
}

run_directory::Fingerprint optimization_fingerprint(session::Session& session, Run& run, const Previews& previews) {
  nlohmann::json inputs{{"model", run.model().model},
                        {"prepare", run.result_of(session, Stage::prepare)},
                        {"reconstruct", run.result_of(session, Stage::reconstruct)},
                        {"select", run.result_of(session, Stage::select)}};
  if (const auto chosen = previews.inputs(); !chosen.is_null()) inputs["keep_best"] = chosen;
  return {run.options_of({"seed", "model", "adapter", "optimize"}), inputs};
}

}  // namespace

void check_layout(session::Session& session, Run& run) {
  recompute_plan(run);
  const int replicas = session.mesh().shape().replica;
  const std::int64_t batch = run.config().optimize.training.global_batch;
  if (batch < replicas)
    throw base::UserError("optimize.global_batch is ", batch, " but the ", session.world().size(), " ranks are ", replicas, " replicas (",
                          session.mesh().describe(), "), of which ", replicas - batch, " would have no pair. Set optimize.global_batch to at least ", replicas,
                          ", or let more ranks share a video (mesh.sequence, mesh.pair), or use fewer ranks; `magicid plan` chooses.");
}

run_directory::Fingerprint optimize_fingerprint(session::Session& session, Run& run) { return optimization_fingerprint(session, run, Previews(session, run)); }

void optimize(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::optimize);
  Previews previews(session, run);
  run.stage(session, Stage::optimize, optimization_fingerprint(session, run, previews), [&] {
    const Configuration& c = run.config();
    PairsFile file;
    comm::agree(session.world(), "reading the pairs", [&] { file = PairsFile::load(run.layout().pairs()); });
    const auto stills = make_still_losers(session, run, file);
    std::vector<objectives::HpoPair> pairs;
    comm::agree(session.world(), "reading the pairs' videos", [&] { pairs = load_pairs(session, run, file, stills, Prepared::load(run.layout().prepared())); });
    previews.prepare();
    const auto transformer = session::borrow_denoiser(session, run.backbone(), session.world());
    session.networks().let_go("training needs the memory");
    models::generator::Adapter policy = load_trained(session, run, Stage::reconstruct);
    const bool from_base = c.optimize.hpo.reference == "base";
    const models::generator::Adapter reference = policy.frozen_copy({session.placement().device, at::kFloat});
    objectives::Hpo objective(*transformer, {policy, from_base ? nullptr : &reference}, std::move(pairs), c.optimize.hpo,
                              {.seed = run.seed(), .shift = c.optimize.shift}, {.ranks = &session.pair_ranks(), .recompute = recompute_plan(run)});
    TrainingFiles files(session, run, run.layout().optimize(), "optimize", policy);
    previews.begin(policy, files);
    const auto hooks = with_speed(with_saturation_warning(files.hooks()), work_of(session, run, objective, !from_base), peak_flops(session));
    training::run_steps("optimize", c.optimize.training, objective, session.world(), session.mesh(), previews.add_to(hooks));
    return previews.result(files.result());
  });
}

}  // namespace magicid::pipeline
