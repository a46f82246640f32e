#include "pipeline/fingerprints.h"

#include <algorithm>
#include <vector>

#include "base/errors.h"

namespace magicid::pipeline {
namespace {

using run_directory::Fingerprint;
using run_directory::Stage;

std::vector<Stage> predecessors(const Configuration& c, Stage stage) {
  switch (stage) {
    case Stage::prepare: return {};
    case Stage::reconstruct: return {Stage::prepare};
    case Stage::generate: return {Stage::prepare, Stage::reconstruct};
    case Stage::score: return {Stage::prepare, Stage::reconstruct, Stage::generate};
    case Stage::select: return {Stage::prepare, Stage::reconstruct, Stage::generate, Stage::score};
    case Stage::optimize: return {Stage::prepare, Stage::reconstruct, Stage::generate, Stage::score, Stage::select};
    case Stage::adapter_export: return {Stage::prepare, Stage::reconstruct, Stage::generate, Stage::score, Stage::select, Stage::optimize};
    case Stage::evaluate: {
      const auto& arms = c.evaluate.arms;
      const bool hpo = std::find(arms.begin(), arms.end(), "hpo") != arms.end(), stage1 = std::find(arms.begin(), arms.end(), "stage1") != arms.end();
      if (hpo) return {Stage::prepare, Stage::reconstruct, Stage::optimize};
      if (stage1) return {Stage::prepare, Stage::reconstruct};
      return {Stage::prepare};
    }
    case Stage::report: return {Stage::prepare, Stage::reconstruct, Stage::select, Stage::optimize, Stage::evaluate, Stage::adapter_export};
  }
  throw base::InvariantError("unknown stage");
}

Fingerprint fingerprint_now(session::Session& session, Run& run, Stage stage) {
  switch (stage) {
    case Stage::prepare: return prepare_fingerprint(session, run);
    case Stage::reconstruct: return reconstruct_fingerprint(session, run);
    case Stage::generate: return generate_fingerprint(session, run);
    case Stage::score: return score_fingerprint(session, run);
    case Stage::select: return select_fingerprint(session, run);
    case Stage::optimize: return optimize_fingerprint(session, run);
    case Stage::evaluate: return evaluate_fingerprint(session, run);
    case Stage::adapter_export: return export_fingerprint(session, run);
    case Stage::report: break;
  }
  throw base::InvariantError("nothing builds on the report");
}

}  // namespace

void require_predecessors(session::Session& session, Run& run, Stage stage) {
  for (const Stage earlier : predecessors(run.config(), stage)) {
    if (run.known_current(earlier)) continue;
    run.result_of(session, earlier);  // what has not finished is told before anything is read
    run.require_current(session, earlier, fingerprint_now(session, run, earlier));
  }
}

}  // namespace magicid::pipeline
