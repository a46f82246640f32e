// `magicid generate`: candidate videos, drawn by the ranks from one queue; finished ones are found by key.

#include <chrono>
#include <optional>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "comm/rank_errors.h"
#include "commands/adapters.h"
#include "commands/candidates.h"
#include "commands/fingerprints.h"
#include "commands/stages.h"
#include "run_directory/candidate_store.h"
#include "work/pieces.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
using run_directory::Stage;
namespace hv = models::hunyuan_video;

// A video is taken to be about as large as its noise: only the adapter differs between V_s and V_t.
class CandidateMaker {
 public:
  // Collective over the sequence group.
  CandidateMaker(RunContext& context, const Prepared& prepared, const models::generator::Adapter& trained)
      : context_(context),
        prepared_(prepared),
        trained_(trained),
        transformer_(read_transformer(context, *context.groups().sequence)),
        scheduler_(context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift)) {}

  at::Tensor operator()(const PlannedCandidate& candidate, work::Pulse& pulse) {
    if (candidate.source == preference::Source::still) return prepared_.references[static_cast<std::size_t>(candidate.sample)].still;
    const models::generator::Adapter* adapter = candidate.source == preference::Source::tuned ? &at_strength(candidate.strength) : nullptr;
    return sample_candidate(context_.config(), transformer_, context_.pipeline().autoencoder_config(), scheduler_, prepared_, candidate, adapter,
                            beat_at_each_step(pulse), &context_.sequence_ranks());
  }

 private:
  const models::generator::Adapter& at_strength(double strength) {
    const auto known = adapters_.find(strength);
    if (known != adapters_.end()) return known->second;
    return adapters_.emplace(strength, trained_.frozen_copy(context_.placement(), strength)).first->second;
  }

  RunContext& context_;
  const Prepared& prepared_;
  const models::generator::Adapter& trained_;
  hv::Transformer transformer_;
  diffusion::FlowMatchEulerScheduler scheduler_;
  std::map<double, models::generator::Adapter> adapters_;
};

void make_missing(RunContext& context, const Prepared& prepared, const std::vector<PlannedCandidate>& candidates) {
  run_directory::CandidateStore store(context.layout().candidates());
  const auto missing = work::find_missing(context.world(), candidates.size(), [&](std::size_t i) { return store.contains(candidates[i].key); });
  if (missing.empty()) return;
  const models::generator::Adapter trained = load_trained(context, Stage::reconstruct);
  std::optional<CandidateMaker> generator;
  auto start = std::chrono::steady_clock::now();
  const auto make = [&](std::size_t i, work::Pulse& pulse) {
    if (!generator) generator.emplace(context, prepared, trained);
    start = std::chrono::steady_clock::now();
    return (*generator)(candidates[i], pulse).cpu();
  };
  work::work_through_together(context.work_ranks(), {"generate", missing, candidates.size()}, make, [&](std::size_t i, const at::Tensor& latents) {
    store.put({.description = candidates[i].description,
               .metadata = {{"source", preference::to_string(candidates[i].source)},
                            {"prompt_index", candidates[i].prompt},
                            {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
                            {"rank", context.world().rank()},
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
std::optional<std::vector<std::filesystem::path>> merge_whole_plan(RunContext& context, const std::vector<std::string>& keys, int attempt) {
  std::vector<std::filesystem::path> files;
  std::size_t lost = 0;
  comm::agree(context.world(), "merging the candidates", [&] {
    if (!context.leader()) return;
    run_directory::CandidateStore store(context.layout().candidates());
    files = store.merge();
    const std::vector<std::string> absent = store.absent(keys);
    lost = absent.size();
    if (lost == 0) return;
    const std::string what = base::concat(context.layout().candidates().string(), ": ", lost, " of ", keys.size(),
                                          " candidates were finished and cannot be read back (", absent.front(), lost > 1 ? ", ...)" : ")");
    if (attempt == generation_attempts)
      throw base::SystemError(what, ", after ", generation_attempts, " attempts. The disk does not keep what is written to it: check it, ",
                              "or name an `output` on another one.");
    base::log::warning(what + "; they are made again");
  });
  if (context.world().broadcast_string(lost > 0 ? "lost" : "", 0) == "lost") return std::nullopt;
  return files;
}

}  // namespace

run_directory::Fingerprint generate_fingerprint(RunContext& context) {
  return {context.options_of({"seed", "model", "video", "generate"}),
          {{"prepare", context.result_of(Stage::prepare)},
           {"reconstruct", context.result_of(Stage::reconstruct)},
           {"candidates", base::hash_json(json(keys_of(candidate_plan(context))))}}};
}

void generate(RunContext& context) {
  require_predecessors(context, Stage::generate);
  context.stage(Stage::generate, generate_fingerprint(context), [&] {
    const CandidatePlan plan = candidate_plan(context);
    const Prepared prepared = read_prepared(context);
    const std::vector<std::string> keys = keys_of(plan);
    std::optional<std::vector<std::filesystem::path>> files;
    for (int attempt = 1; !files; ++attempt) {
      make_missing(context, prepared, plan.candidates);
      files = merge_whole_plan(context, keys, attempt);
    }
    return RunContext::StageResult{.files = *files, .result = base::hash_json(json(keys))};
  });
}

}  // namespace magicid::commands
