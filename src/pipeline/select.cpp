// `magicid select`: preference pairs from the scores of all ranks.

#include <map>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "parallel/replicas.h"
#include "pipeline/fingerprints.h"
#include "pipeline/pairs_file.h"
#include "pipeline/scores.h"
#include "pipeline/stages.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;
using run_directory::Stage;

PairsFile select_from(const Configuration& c, const CandidatePlan& plan, const ScoredPool& scored) {
  std::vector<preference::Candidate> usable;
  for (std::size_t i = 0; i < plan.candidates.size(); ++i)
    if (scored.candidates[i].rejection.empty()) {
      const auto& n = scored.candidates[i].normalised;
      usable.push_back({.key = plan.candidates[i].key,
                        .source = plan.candidates[i].source,
                        .prompt = plan.candidates[i].prompt,
                        .identity = n.identity,
                        .dynamics = n.dynamics,
                        .semantics = n.semantics});
    }
  PairsFile file;
  file.selection = preference::select_pairs(std::move(usable), c.select);
  // Rendered here, once: what a pair is trained under must not hang on the prompts file of a later start.
  for (const auto& p : file.selection.pairs)
    file.conditions.push_back(render_prompt(p.prompt < 0 ? c.reconstruct.prompt : plan.templates.at(static_cast<std::size_t>(p.prompt)), c.subject, true));
  std::map<std::string, int> fronts(file.selection.fronts.begin(), file.selection.fronts.end());
  for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
    const auto& p = plan.candidates[i];
    const auto& s = scored.candidates[i];
    file.candidates.push_back({.key = p.key,
                               .source = p.source,
                               .prompt = p.prompt,
                               .text = p.text,
                               .strength = p.strength,
                               .preview = preview_name(p),
                               .raw = s.raw,
                               .normalised = s.normalised,
                               .rejection = s.rejection,
                               .front = fronts.contains(p.key) ? fronts[p.key] : -1});
  }
  for (const auto& note : scored.pool.notes) file.selection.notes.push_back(note);
  std::size_t rejected = 0;
  for (const auto& s : scored.candidates) rejected += !s.rejection.empty();
  if (rejected > 0) file.selection.notes.push_back(base::concat(rejected, " of ", scored.candidates.size(), " candidates were rejected; the report says why"));
  file.ranges = {scored.pool.identity, scored.pool.dynamics, scored.pool.semantics};
  return file;
}

}  // namespace

run_directory::Fingerprint select_fingerprint(session::Session& session, Run& run) {
  const auto& c = run.config();
  // Identity pairs without a template are trained under the portrait's prompt.
  return {run.options_of({"select"}), {{"score", run.result_of(session, Stage::score)}, {"portrait", render_prompt(c.reconstruct.prompt, c.subject, true)}}};
}

void select(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::select);
  run.stage(session, Stage::select, select_fingerprint(session, run), [&] {
    const CandidatePlan plan = candidate_plan(session, run);
    const ScoredPool scored = gather_scores(session, run, plan);
    PairsFile file;
    std::string hash;
    comm::agree(session.world(), "selecting pairs", [&] {
      file = select_from(run.config(), plan, scored);
      json pairs = json::array();
      for (std::size_t i = 0; i < file.selection.pairs.size(); ++i) {
        const auto& p = file.selection.pairs[i];
        pairs.push_back({preference::to_string(p.kind), p.winner, p.loser, file.conditions[i], p.loser_still});
      }
      hash = base::hash_json(pairs);
    });
    parallel::check_same_on_all_ranks(session.world(), "the selected pairs", hash);
    comm::agree(session.world(), "writing pairs.h5", [&] {
      if (!session.leader()) return;
      file.save(run.layout().pairs());
      std::size_t identity = 0;
      for (const auto& p : file.selection.pairs) identity += p.kind == preference::PairKind::identity;
      base::log::info(base::concat("select: ", identity, " identity pairs and ", file.selection.pairs.size() - identity, " dynamic pairs from ",
                                   plan.candidates.size(), " candidates"));
      for (const auto& note : file.selection.notes) base::log::warning("select: " + note);
    });
    return Run::StageResult{.files = {run.layout().pairs()}, .result = hash};
  });
}

}  // namespace magicid::pipeline
