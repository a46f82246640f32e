// The stages of the pipeline, one function each. All are collective over the context's world, safe to start again, and do nothing when their
// results are current.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "commands/run_context.h"
#include "models/text/prompt_encoder.h"

namespace magicid::commands {

// Whether optimize.global_batch has a pair for every replica and model.recompute is for this model: a UserError on every rank before any work is done, instead
// of GPUs that wait through the longest stage. Not collective.
void check_layout(RunContext& context);

void prepare(RunContext& context);
void reconstruct(RunContext& context);
void generate(RunContext& context);
void score(RunContext& context);
void select(RunContext& context);
void optimize(RunContext& context);
void evaluate(RunContext& context);
void export_adapter(RunContext& context);
void write_report(RunContext& context);

// Embeddings of rendered prompts, on the CPU, with a warning for each that is cut. Rank 0 alone loads the text encoders, and frees them; all ranks get the same
// numbers. `what` names the work in messages. Collective.
std::map<std::string, models::text::PromptEmbeddings> encode_prompts_once(RunContext& context, const std::string& what, const std::vector<std::string>& texts);

}  // namespace magicid::commands
