// Scores of a run: reading them for selection, evaluation and the report.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/candidates.h"
#include "preference/pairs.h"
#include "rewards/normalisation.h"

namespace magicid::pipeline {

// What determines a score beside the candidate: networks, references, options. After prepare. Collective.
nlohmann::json scorer_description(session::Session& session, Run& run);
// The scorer of one candidate: the prompt that it is scored against belongs to it.
nlohmann::json scorer_for(const nlohmann::json& scorer, const PlannedCandidate& candidate);

struct ScoredCandidate {
  std::string key;
  rewards::Rewards raw, normalised;
  std::string rejection;  // empty, or why it is not used
};

// Scores of all candidates in the order of the plan: each rank reads a share, the shares are gathered, every rank normalises the same numbers.
// Throws UserError when a candidate has no score. Collective.
struct ScoredPool {
  std::vector<ScoredCandidate> candidates;
  rewards::NormalisedPool pool;
};
ScoredPool gather_scores(session::Session& session, Run& run, const CandidatePlan& plan);

}  // namespace magicid::pipeline
