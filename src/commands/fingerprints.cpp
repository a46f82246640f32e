#include "commands/fingerprints.h"

#include <algorithm>
#include <vector>

#include "base/errors.h"

namespace magicid::commands {
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

Fingerprint fingerprint_now(RunContext& context, Stage stage) {
  switch (stage) {
    case Stage::prepare: return prepare_fingerprint(context);
    case Stage::reconstruct: return reconstruct_fingerprint(context);
    case Stage::generate: return generate_fingerprint(context);
    case Stage::score: return score_fingerprint(context);
    case Stage::select: return select_fingerprint(context);
    case Stage::optimize: return optimize_fingerprint(context);
    case Stage::evaluate: return evaluate_fingerprint(context);
    case Stage::adapter_export: return export_fingerprint(context);
    case Stage::report: break;
  }
  throw base::InvariantError("nothing builds on the report");
}

}  // namespace

void require_predecessors(RunContext& context, Stage stage) {
  for (const Stage earlier : predecessors(context.config(), stage)) {
    if (context.known_current(earlier)) continue;
    context.result_of(earlier);  // what has not finished is told before anything is read
    context.require_current(earlier, fingerprint_now(context, earlier));
  }
}

}  // namespace magicid::commands
