// `magicid select`: preference pairs from the scores of all ranks.

#include <map>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "commands/fingerprints.h"
#include "commands/pairs_file.h"
#include "commands/scores.h"
#include "commands/stages.h"
#include "parallel/replicas.h"

namespace magicid::commands {
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
  file.candidates = json::array();
  for (std::size_t i = 0; i < plan.candidates.size(); ++i) {
    const auto& p = plan.candidates[i];
    const auto& s = scored.candidates[i];
    const auto numbers = [](const rewards::Rewards& r) { return json{{"identity", r.identity}, {"dynamics", r.dynamics}, {"semantics", r.semantics}}; };
    file.candidates.push_back({{"key", p.key},
                               {"source", preference::to_string(p.source)},
                               {"prompt", p.prompt},
                               {"text", p.text},
                               {"strength", p.strength},
                               {"preview", preview_name(p)},
                               {"raw", numbers(s.raw)},
                               {"normalised", numbers(s.normalised)},
                               {"rejection", s.rejection},
                               {"front", fronts.contains(p.key) ? fronts[p.key] : -1}});
  }
  for (const auto& note : scored.pool.notes) file.selection.notes.push_back(note);
  std::size_t rejected = 0;
  for (const auto& s : scored.candidates) rejected += !s.rejection.empty();
  if (rejected > 0) file.selection.notes.push_back(base::concat(rejected, " of ", scored.candidates.size(), " candidates were rejected; the report says why"));
  const auto range = [](const rewards::Range& r) { return json{{"minimum", r.minimum}, {"maximum", r.maximum}}; };
  file.ranges = {{"identity", range(scored.pool.identity)}, {"dynamics", range(scored.pool.dynamics)}, {"semantics", range(scored.pool.semantics)}};
  return file;
}

}  // namespace

run_directory::Fingerprint select_fingerprint(RunContext& context) {
  const auto& c = context.config();
  // Identity pairs without a template are trained under the portrait's prompt.
  return {context.options_of({"select"}), {{"score", context.result_of(Stage::score)}, {"portrait", render_prompt(c.reconstruct.prompt, c.subject, true)}}};
}

void select(RunContext& context) {
  require_predecessors(context, Stage::select);
  context.stage(Stage::select, select_fingerprint(context), [&] {
    const CandidatePlan plan = candidate_plan(context);
    const ScoredPool scored = gather_scores(context, plan);
    PairsFile file;
    std::string hash;
    comm::agree(context.world(), "selecting pairs", [&] {
      file = select_from(context.config(), plan, scored);
      json pairs = json::array();
      for (std::size_t i = 0; i < file.selection.pairs.size(); ++i) {
        const auto& p = file.selection.pairs[i];
        pairs.push_back({preference::to_string(p.kind), p.winner, p.loser, file.conditions[i], p.loser_still});
      }
      hash = base::hash_json(pairs);
    });
    parallel::check_same_on_all_ranks(context.world(), "the selected pairs", hash);
    comm::agree(context.world(), "writing pairs.h5", [&] {
      if (!context.leader()) return;
      file.save(context.layout().pairs());
      std::size_t identity = 0;
      for (const auto& p : file.selection.pairs) identity += p.kind == preference::PairKind::identity;
      base::log::info(base::concat("select: ", identity, " identity pairs and ", file.selection.pairs.size() - identity, " dynamic pairs from ",
                                   plan.candidates.size(), " candidates"));
      for (const auto& note : file.selection.notes) base::log::warning("select: " + note);
    });
    return RunContext::StageResult{.files = {context.layout().pairs()}, .result = hash};
  });
}

}  // namespace magicid::commands
