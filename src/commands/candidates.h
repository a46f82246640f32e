// The candidate videos of a run: which there must be, and what determines each.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/prepared.h"
#include "commands/run_context.h"
#include "preference/pairs.h"

namespace magicid::commands {

struct PlannedCandidate {
  std::string key;             // hash of `description`
  nlohmann::json description;  // all that determines the latents
  preference::Source source = preference::Source::initial;
  std::int64_t prompt = -1;         // index of the template; -1 for stills
  std::string text;                 // the rendered prompt it is made from and scored against
  std::int64_t sample = 0;          // which of the prompt's videos, or which photo
  double strength = 0;              // of the stage-1 adapter; 0 for V_s
};

// V_id, V_s, V_t in this order; a function of the configuration and of what was prepared and trained, the same on every rank.
// V_s does not depend on the person beyond the class, so that its keys are shared by all identities of a class.
std::vector<PlannedCandidate> plan_candidates(const Configuration& configuration, const Prepared& prepared, const std::vector<std::string>& templates,
                                              const std::string& model_fingerprint, const std::string& reconstruct_result, const std::string& dtype);

// The initial noise [1,C,T,H,W] of a candidate: a function of its key's random part (seed, source, template, sample).
at::Tensor candidate_noise(const PlannedCandidate& candidate, const std::vector<std::int64_t>& shape);

// Name of its preview below previews/.
std::string preview_name(const PlannedCandidate& candidate);

// The stage-1 adapter, the templates and the plan, as generate and the stages after it need them. Collective.
struct CandidatePlan {
  std::vector<std::string> templates;
  std::vector<PlannedCandidate> candidates;
};
CandidatePlan candidate_plan(RunContext& context, const Prepared& prepared);

}  // namespace magicid::commands
