// Arms of the evaluation that other runs trained (evaluate.runs): their adapters after `optimize`, on this run's prompts and noise.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/generator/adapter.h"
#include "pipeline/run.h"

namespace magicid::pipeline {

struct OtherRun {
  std::string arm;                   // its name in evaluate.runs
  std::filesystem::path checkpoint;  // that its stage optimize results in
  std::string result;                // hash of the adapter's parameters
};

// The runs that evaluate.runs names, in its order, the same on every rank. Throws UserError when a folder is no run, was made with another model or under
// another trigger or class (its adapter would not answer to this run's prompts), or has not finished `optimize`. Collective.
std::vector<OtherRun> other_runs(session::Session& session, const Run& run);

// Its adapter, read by every rank, as parameters in fp32. Throws UserError when the file is damaged or not the one that the run recorded. Collective.
models::generator::Adapter load_other(session::Session& session, const Run& run, const OtherRun& other);

}  // namespace magicid::pipeline
