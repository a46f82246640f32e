// What stages borrow of a session for a run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/run.h"
#include "rewards/reward_networks.h"
#include "rewards/vqa.h"
#include "session/session.h"
#include "work/pieces.h"

namespace magicid::pipeline {

// World and sequence group, for work that is shared out over them.
inline work::Ranks work_ranks(session::Session& session) { return {session.world(), session.sequence()}; }

// How the model reads prompts (model.template_file, model.max_length).
models::generator::PromptOptions prompt_options(const ModelOptions& options);

// The networks behind the rewards, for this rank. Throws as rewards::RewardNetworks::load(). Not collective.
std::shared_ptr<rewards::RewardNetworks> borrow_reward_networks(session::Session& session, const Run& run);

// The vision-language model of the semantic reward, for this rank; null where rewards.semantics is clip. Throws as rewards::VqaScore::load(). Not collective.
std::shared_ptr<const rewards::VqaScore> borrow_vqa(session::Session& session, const Run& run);

// Embeddings of rendered prompts, on the CPU, with a warning for each that is cut. Rank 0 alone loads the text encoders, and frees them; all ranks get the same
// numbers. `what` names the work in messages. Collective.
std::map<std::string, models::generator::Condition> encode_prompts_once(session::Session& session, const Run& run, const std::string& what,
                                                                        const std::vector<std::string>& texts);

}  // namespace magicid::pipeline
