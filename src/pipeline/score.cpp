// `magicid score`: identity, dynamics and semantics of every candidate, by the rank that draws it.

#include <chrono>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/fingerprints.h"
#include "pipeline/prepared.h"
#include "pipeline/scores.h"
#include "pipeline/stages.h"
#include "pipeline/video_scorer.h"
#include "rewards/reward_networks.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;
using run_directory::Stage;

// Loaded by a rank with its first piece of work.
struct Scorer {
  session::Session& session;
  const Run& run;
  const Prepared& prepared;
  const json& description;  // scorer_description()
  VideoScorer score;
  run_directory::CandidateStore candidates;

  Scorer(session::Session& session, const Run& run, const Prepared& prepared, const json& description)
      : session(session), run(run), prepared(prepared), description(description), score(session, run), candidates(run.layout().candidates()) {}

  // What the store keeps of a candidate's scores.
  run_directory::Score operator()(const PlannedCandidate& planned) {
    const auto start = std::chrono::steady_clock::now();
    const auto candidate = candidates.find(planned.key);
    if (!candidate)
      throw base::UserError(run.layout().candidates().string(), ": candidate ", planned.key, " is missing or damaged; run `magicid generate` again");
    const auto [raw, features] = score(candidate->latents, planned.text, prepared.face_embeddings, run.layout().previews() / preview_name(planned));
    return {
        .candidate = planned.key,
        .scorer = scorer_for(description, planned),
        .metadata = {{"source", preference::to_string(planned.source)},
                     {"prompt", planned.text},
                     {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
                     {"rank", session.world().rank()}},
        .values = {{"identity", raw.identity}, {"dynamics", raw.dynamics}, {"semantics", raw.semantics}, {"dynamic", features.dynamics.dynamic ? 1.0 : 0.0}},
        .face_embeddings = features.faces.embeddings.numel() > 0 ? features.faces.embeddings : at::Tensor()};
  }
};

}  // namespace

json scorer_description(session::Session& session, Run& run) {
  json description = run.reward_networks(session);
  description["measures"] = rewards::measures_version;
  description["references"] = prepared_contents(session, run).face_embeddings;
  description["options"] = run.options_of({"rewards"})["rewards"];
  description["fps"] = run.config().video.fps;
  const auto& subject = run.config().subject;
  if (description.contains("vqa")) description["vqa"]["subject"] = {subject.trigger, subject.class_name};  // asked about without the trigger
  return description;
}

json scorer_for(const json& scorer, const PlannedCandidate& candidate) {
  json own = scorer;
  own["prompt"] = candidate.text;
  return own;
}

run_directory::Fingerprint score_fingerprint(session::Session& session, Run& run) {
  const json description = scorer_description(session, run);
  // The keys hold what the scorer's description lacks: the prompt that each candidate is scored against.
  json keys = json::array();
  for (const auto& planned : candidate_plan(session, run).candidates)
    keys.push_back(run_directory::ScoreStore::key_of(planned.key, scorer_for(description, planned)));
  return {run.options_of({"rewards"}), {{"generate", run.result_of(session, Stage::generate)}, {"scorer", description}, {"scores", base::hash_json(keys)}}};
}

void score(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::score);
  run.stage(session, Stage::score, score_fingerprint(session, run), [&] {
    const Prepared prepared = read_prepared(session, run);
    const CandidatePlan plan = candidate_plan(session, run);
    const json description = scorer_description(session, run);
    run_directory::ScoreStore scores(run.layout().scores());
    const auto missing = work::find_missing(session.world(), plan.candidates.size(), [&](std::size_t i) {
      return scores.contains(run_directory::ScoreStore::key_of(plan.candidates[i].key, scorer_for(description, plan.candidates[i])));
    });
    std::optional<Scorer> scorer;
    work::work_through(session.world(), {"score", missing, plan.candidates.size()}, [&](std::size_t i, work::Pulse&) {
      if (!scorer) scorer.emplace(session, run, prepared, description);
      scores.put((*scorer)(plan.candidates[i]));
    });
    Run::StageResult done;
    comm::agree(session.world(), "merging the scores", [&] {
      if (!session.leader()) return;
      run_directory::ScoreStore store(run.layout().scores());
      done.files = store.merge();
    });
    // What selection sees: candidates with their prompts, and the numbers, not the files that they lie in.
    const ScoredPool pool = gather_scores(session, run, plan);
    json numbers = json::array();
    for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
      const auto& c = pool.candidates[i];
      numbers.push_back({c.key, plan.candidates[i].text, c.raw.identity, c.raw.dynamics, c.raw.semantics});
    }
    done.result = base::hash_json(numbers);
    return done;
  });
}

ScoredPool gather_scores(session::Session& session, Run& run, const CandidatePlan& plan) {
  comm::Communicator& world = session.world();
  const json description = scorer_description(session, run);
  json mine = json::array();
  comm::agree(world, "reading the scores", [&] {
    run_directory::ScoreStore store(run.layout().scores());
    for (std::size_t i = static_cast<std::size_t>(world.rank()); i < plan.candidates.size(); i += static_cast<std::size_t>(world.size())) {
      const auto& candidate = plan.candidates[i];
      const auto found = store.find(candidate.key, scorer_for(description, candidate));
      if (!found) throw base::UserError(run.layout().scores().string(), ": candidate ", candidate.key, " has no intact score; run `magicid score` again");
      // JSON has no NaN: a reward that is not finite travels as null.
      mine.push_back({{"candidate", i},
                      {"identity", found->values.at("identity")},
                      {"dynamics", found->values.at("dynamics")},
                      {"semantics", found->values.at("semantics")}});
    }
  });
  ScoredPool scored;
  scored.candidates.resize(plan.candidates.size());
  std::vector<rewards::Rewards> raw(plan.candidates.size());
  for (const auto& share : world.all_gather_strings(mine.dump()))
    for (const auto& row : json::parse(share)) {
      const auto number = [&](const char* name) { return row.at(name).is_null() ? std::numeric_limits<double>::quiet_NaN() : row.at(name).get<double>(); };
      raw[row.at("candidate").get<std::size_t>()] = {number("identity"), number("dynamics"), number("semantics")};
    }
  scored.pool = rewards::normalise_jointly(raw);
  for (std::size_t i = 0; i < raw.size(); ++i) scored.candidates[i] = {plan.candidates[i].key, raw[i], scored.pool.rewards[i], scored.pool.rejections[i]};
  return scored;
}

}  // namespace magicid::pipeline
