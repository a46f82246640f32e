// The stage `report`: gathers what the other stages left and writes report.html.
#pragma once

#include "pipeline/run.h"
#include "session/session.h"

namespace magicid::report {

// Does nothing when the report is current. Throws UserError when a stage that it shows is not. Collective over the session's world.
void write_run_report(session::Session& session, pipeline::Run& run);

}  // namespace magicid::report
