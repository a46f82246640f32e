// What each stage's result is a function of, computed from the configuration of now, the files outside the run, and the results of earlier stages; and the
// check that a stage does not stand on one that was made from something else.
#pragma once

#include "pipeline/run.h"

namespace magicid::pipeline {

// All are collective over the session's world, and the same on every rank. They throw UserError when something that the stage reads is missing or an earlier
// stage has not finished. docs/files.md lists what they hold.
run_directory::Fingerprint prepare_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint reconstruct_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint generate_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint score_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint select_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint optimize_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint evaluate_fingerprint(session::Session& session, Run& run);
run_directory::Fingerprint export_fingerprint(session::Session& session, Run& run);

// Whether every stage that `stage` builds on is what this configuration makes of it, as `magicid run` asks before it goes on; each is looked at once a process.
// Throws UserError naming the first that is not, what changed, and the command to run. Collective.
//
// evaluate and report do not ask about generate, score and select beyond the adapter that came of them: their sections `generate` and `rewards` also say how
// the evaluation's videos are made and measured, which may be another way than training's.
void require_predecessors(session::Session& session, Run& run, run_directory::Stage stage);

}  // namespace magicid::pipeline
