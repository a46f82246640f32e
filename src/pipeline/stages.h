// The stages of the pipeline, one function each. All are collective over the session's world, safe to start again, and do nothing when their
// results are current.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "pipeline/run.h"

namespace magicid::pipeline {

// Whether optimize.global_batch has a pair for every replica and model.recompute is for this model: a UserError on every rank before any work is done, instead
// of GPUs that wait through the longest stage. Not collective.
void check_layout(session::Session& session, Run& run);

void prepare(session::Session& session, Run& run);
void reconstruct(session::Session& session, Run& run);
void generate(session::Session& session, Run& run);
void score(session::Session& session, Run& run);
void select(session::Session& session, Run& run);
void optimize(session::Session& session, Run& run);
void evaluate(session::Session& session, Run& run);
void export_adapter(session::Session& session, Run& run);

}  // namespace magicid::pipeline
