// `magicid score`: identity, dynamics and semantics of every candidate, by the rank that draws it.

#include <chrono>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "commands/fingerprints.h"
#include "commands/prepared.h"
#include "commands/scores.h"
#include "commands/stages.h"
#include "commands/video_scorer.h"
#include "rewards/reward_networks.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
using run_directory::Stage;

// Loaded by a rank with its first piece of work.
struct Scorer {
  explicit Scorer(RunContext& context) : score(context), candidates(context.layout().candidates()) {}

  VideoScorer score;
  run_directory::CandidateStore candidates;
};

void score_one(RunContext& context, const Prepared& prepared, Scorer& scorer, run_directory::ScoreStore& scores, const json& description,
               const PlannedCandidate& planned) {
  const auto start = std::chrono::steady_clock::now();
  const auto candidate = scorer.candidates.find(planned.key);
  if (!candidate)
    throw base::UserError(context.layout().candidates().string(), ": candidate ", planned.key, " is missing or damaged; run `magicid generate` again");
  const auto [raw, features] = scorer.score(candidate->latents, planned.text, prepared.face_embeddings, context.layout().previews() / preview_name(planned));
  scores.put(
      {.candidate = planned.key,
       .scorer = scorer_for(description, planned),
       .metadata = {{"source", preference::to_string(planned.source)},
                    {"prompt", planned.text},
                    {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
                    {"rank", context.world().rank()}},
       .values = {{"identity", raw.identity}, {"dynamics", raw.dynamics}, {"semantics", raw.semantics}, {"dynamic", features.dynamics.dynamic ? 1.0 : 0.0}},
       .face_embeddings = features.faces.embeddings.numel() > 0 ? features.faces.embeddings : at::Tensor()});
}

}  // namespace

json scorer_description(RunContext& context) {
  json description = context.reward_networks();
  description["measures"] = rewards::measures_version;
  description["references"] = prepared_contents(context).face_embeddings;
  description["options"] = context.options_of({"rewards"})["rewards"];
  description["fps"] = context.config().video.fps;
  return description;
}

json scorer_for(const json& scorer, const PlannedCandidate& candidate) {
  json own = scorer;
  own["prompt"] = candidate.text;
  return own;
}

run_directory::Fingerprint score_fingerprint(RunContext& context) {
  const json description = scorer_description(context);
  // The keys hold what the scorer's description lacks: the prompt that each candidate is scored against.
  json keys = json::array();
  for (const auto& planned : candidate_plan(context).candidates)
    keys.push_back(run_directory::ScoreStore::key_of(planned.key, scorer_for(description, planned)));
  return {context.options_of({"rewards"}), {{"generate", context.result_of(Stage::generate)}, {"scorer", description}, {"scores", base::hash_json(keys)}}};
}

void score(RunContext& context) {
  require_predecessors(context, Stage::score);
  context.stage(Stage::score, score_fingerprint(context), [&] {
    const Prepared prepared = read_prepared(context);
    const CandidatePlan plan = candidate_plan(context);
    const json description = scorer_description(context);
    run_directory::ScoreStore scores(context.layout().scores());
    const auto missing = work::find_missing(context.world(), plan.candidates.size(), [&](std::size_t i) {
      return scores.contains(run_directory::ScoreStore::key_of(plan.candidates[i].key, scorer_for(description, plan.candidates[i])));
    });
    std::optional<Scorer> scorer;
    work::work_through(context.world(), {"score", missing, plan.candidates.size()}, [&](std::size_t i, work::Pulse&) {
      if (!scorer) scorer.emplace(context);
      score_one(context, prepared, *scorer, scores, description, plan.candidates[i]);
    });
    RunContext::StageResult done;
    comm::agree(context.world(), "merging the scores", [&] {
      if (!context.leader()) return;
      run_directory::ScoreStore store(context.layout().scores());
      done.files = store.merge();
    });
    // What selection sees: candidates with their prompts, and the numbers, not the files that they lie in.
    const ScoredPool pool = gather_scores(context, plan);
    json numbers = json::array();
    for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
      const auto& c = pool.candidates[i];
      numbers.push_back({c.key, plan.candidates[i].text, c.raw.identity, c.raw.dynamics, c.raw.semantics});
    }
    done.result = base::hash_json(numbers);
    return done;
  });
}

ScoredPool gather_scores(RunContext& context, const CandidatePlan& plan) {
  comm::Communicator& world = context.world();
  const json description = scorer_description(context);
  json mine = json::array();
  comm::agree(world, "reading the scores", [&] {
    run_directory::ScoreStore store(context.layout().scores());
    for (std::size_t i = static_cast<std::size_t>(world.rank()); i < plan.candidates.size(); i += static_cast<std::size_t>(world.size())) {
      const auto& candidate = plan.candidates[i];
      const auto found = store.find(candidate.key, scorer_for(description, candidate));
      if (!found) throw base::UserError(context.layout().scores().string(), ": candidate ", candidate.key, " has no intact score; run `magicid score` again");
      // JSON has no NaN: a reward that is not finite travels as null.
      mine.push_back({i, found->values.at("identity"), found->values.at("dynamics"), found->values.at("semantics")});
    }
  });
  ScoredPool scored;
  scored.candidates.resize(plan.candidates.size());
  std::vector<rewards::Rewards> raw(plan.candidates.size());
  for (const auto& share : world.all_gather_strings(mine.dump()))
    for (const auto& row : json::parse(share)) {
      const auto number = [&](int k) {
        return row[static_cast<std::size_t>(k)].is_null() ? std::numeric_limits<double>::quiet_NaN() : row[static_cast<std::size_t>(k)].get<double>();
      };
      raw[row[0].get<std::size_t>()] = {number(1), number(2), number(3)};
    }
  scored.pool = rewards::normalise_jointly(raw);
  for (std::size_t i = 0; i < raw.size(); ++i) scored.candidates[i] = {plan.candidates[i].key, raw[i], scored.pool.rewards[i], scored.pool.rejections[i]};
  return scored;
}

}  // namespace magicid::commands
