// What can be known of a run before anything costs time: files by their headers, photos, prompts, memory, disk.
#pragma once

#include <string>
#include <vector>

#include "pipeline/run.h"
#include "session/session.h"

namespace magicid::pipeline {

enum class Verdict { good, warning, problem };

struct Finding {
  std::string what;  // "transformer", "photos", "disk"
  Verdict verdict = Verdict::good;
  std::string text;  // what was found, or what is wrong and what to do
};

// Looks at the model's and the reward networks' files (every name, shape and dtype, through the code that loads them, on a device that holds no values),
// tokenisers, photos and their faces, prompts and their limits, the ranks' devices, memory by the cost model, disk space, and writes a checkpoint of the run's
// size to the run directory and reads it back. The same list on every rank. Collective over the session's world.
std::vector<Finding> preflight(session::Session& session, const Run& run);

// For the beginning of a whole run: as preflight() where the run has not finished `prepare` yet; logs the warnings. Throws UserError with every problem.
// Collective.
void check_before_run(session::Session& session, Run& run);
// The verb: logs every finding. Throws UserError when there is a problem. Collective.
void show_preflight(session::Session& session, Run& run);

}  // namespace magicid::pipeline
