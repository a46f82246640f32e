// Losers held still (select.identity_pairs.loser: still): what they show in training is their first frame, inflated as V_id is.
#pragma once

#include <map>
#include <string>

#include "pipeline/pairs_file.h"
#include "pipeline/run.h"

namespace magicid::pipeline {

// For each loser that a pair of `pairs` shows still: its key -> the key of its still in the candidate store. What is missing is made, shared over the ranks, by
// decoding the candidate, repeating its first frame over all frames and encoding that whole; finished ones are found by key. Throws UserError when a candidate
// is missing. Collective.
std::map<std::string, std::string> make_still_losers(session::Session& session, Run& run, const PairsFile& pairs);

}  // namespace magicid::pipeline
