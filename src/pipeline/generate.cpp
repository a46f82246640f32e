// `magicid generate`: candidate videos, drawn by the ranks from one queue; finished ones are found by key.

#include <chrono>
#include <optional>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "comm/rank_errors.h"
#include "pipeline/candidates.h"
#include "pipeline/fingerprints.h"
#include "pipeline/networks.h"
#include "pipeline/stages.h"
#include "pipeline/training_files.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::pipeline {
namespace {

using nlohmann::json;
using run_directory::Stage;

// Stills are at hand; the rest is sampled, V_t with the stage-1 adapter at its strength.
class CandidateMaker {
 public:
  // Collective over the sequence group.
  CandidateMaker(session::Session& session, const Run& run, const Prepared& prepared, const models::generator::Adapter& trained)
      : placement_(session.placement()), prepared_(prepared), trained_(trained), sample_(session, run) {}

  at::Tensor operator()(const PlannedCandidate& candidate, work::Pulse& pulse) {
    if (candidate.source == preference::Source::still) return prepared_.references[static_cast<std::size_t>(candidate.sample)].still;
    return sample_(candidate, prepared_, candidate.source == preference::Source::tuned ? &at_strength(candidate.strength) : nullptr, pulse);
  }

 private:
  const models::generator::Adapter& at_strength(double strength) {
    const auto known = adapters_.find(strength);
    if (known != adapters_.end()) return known->second;
    return adapters_.emplace(strength, trained_.frozen_copy(placement_, strength)).first->second;
  }

  models::nn::Placement placement_;
  const Prepared& prepared_;
  const models::generator::Adapter& trained_;
  CandidateSampler sample_;
  std::map<double, models::generator::Adapter> adapters_;
};

void make_missing(session::Session& session, Run& run, const Prepared& prepared, const std::vector<PlannedCandidate>& candidates) {
  run_directory::CandidateStore store(run.layout().candidates());
  const auto missing = work::find_missing(session.world(), candidates.size(), [&](std::size_t i) { return store.contains(candidates[i].key); });
  if (missing.empty()) return;
  const models::generator::Adapter trained = load_trained(session, run, Stage::reconstruct);
  std::optional<CandidateMaker> generator;
  auto start = std::chrono::steady_clock::now();
  const auto make = [&](std::size_t i, work::Pulse& pulse) {
    if (!generator) generator.emplace(session, run, prepared, trained);
    start = std::chrono::steady_clock::now();
    return (*generator)(candidates[i], pulse).cpu();
  };
  work::work_through_together(work_ranks(session), {"generate", missing, candidates.size()}, make, [&](std::size_t i, const at::Tensor& latents) {
    store.put({.description = candidates[i].description,
               .metadata = {{"source", preference::to_string(candidates[i].source)},
                            {"prompt_index", candidates[i].prompt},
                            {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
                            {"rank", session.world().rank()},
                            {"node", comm::node_name()}},
               .latents = latents});
  });
}

std::vector<std::string> keys_of(const CandidatePlan& plan) {
  std::vector<std::string> keys;
  for (const auto& candidate : plan.candidates) keys.push_back(candidate.key);
  return keys;
}

constexpr int generation_attempts = 3;

// Merges what was made and compares it with the plan. The files for the manifest, on rank 0; nothing, on every rank, when a candidate that was finished could
// not be read back: it is set aside then, and has to be made again before the stage may call itself finished. `attempt` from 1; the last one throws instead.
// Collective over the world.
std::optional<std::vector<std::filesystem::path>> merge_whole_plan(session::Session& session, Run& run, const std::vector<std::string>& keys, int attempt) {
  std::vector<std::filesystem::path> files;
  std::size_t lost = 0;
  comm::agree(session.world(), "merging the candidates", [&] {
    if (!session.leader()) return;
    run_directory::CandidateStore store(run.layout().candidates());
    files = store.merge();
    const std::vector<std::string> absent = store.absent(keys);
    lost = absent.size();
    if (lost == 0) return;
    const std::string what = base::concat(run.layout().candidates().string(), ": ", lost, " of ", keys.size(),
                                          " candidates were finished and cannot be read back (", absent.front(), lost > 1 ? ", ...)" : ")");
    if (attempt == generation_attempts)
      throw base::SystemError(what, ", after ", generation_attempts, " attempts. The disk does not keep what is written to it: check it, ",
                              "or name an `output` on another one.");
    base::log::warning(what + "; they are made again");
  });
  if (session.world().broadcast_string(lost > 0 ? "lost" : "", 0) == "lost") return std::nullopt;
  return files;
}

}  // namespace

run_directory::Fingerprint generate_fingerprint(session::Session& session, Run& run) {
  return {run.options_of({"seed", "model", "video", "generate"}),
          {{"prepare", run.result_of(session, Stage::prepare)},
           {"reconstruct", run.result_of(session, Stage::reconstruct)},
           {"candidates", base::hash_json(json(keys_of(candidate_plan(session, run))))}}};
}

void generate(session::Session& session, Run& run) {
  require_predecessors(session, run, Stage::generate);
  run.stage(session, Stage::generate, generate_fingerprint(session, run), [&] {
    const CandidatePlan plan = candidate_plan(session, run);
    const Prepared prepared = read_prepared(session, run);
    const std::vector<std::string> keys = keys_of(plan);
    std::optional<std::vector<std::filesystem::path>> files;
    for (int attempt = 1; !files; ++attempt) {
      make_missing(session, run, prepared, plan.candidates);
      files = merge_whole_plan(session, run, keys, attempt);
    }
    return Run::StageResult{.files = *files, .result = base::hash_json(json(keys))};
  });
}

}  // namespace magicid::pipeline
