// `magicid generate`: candidate videos, drawn by the ranks from one queue; finished ones are found by key.

#include <chrono>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
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
  CandidateMaker(RunContext& context, const Prepared& prepared, const hv::Adapter& trained)
      : context_(context),
        prepared_(prepared),
        trained_(trained),
        transformer_(read_transformer(context, *context.groups().sequence)),
        scheduler_(context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift)) {}

  at::Tensor operator()(const PlannedCandidate& candidate, work::Pulse& pulse) {
    if (candidate.source == preference::Source::still) return prepared_.references[static_cast<std::size_t>(candidate.sample)].still;
    const hv::Adapter* adapter = candidate.source == preference::Source::tuned ? &at_strength(candidate.strength) : nullptr;
    return sample_candidate(context_.config(), transformer_, context_.pipeline().autoencoder_config(), scheduler_, prepared_, candidate, adapter, beat_at_each_step(pulse),
                            &context_.sequence_ranks());
  }

 private:
  const hv::Adapter& at_strength(double strength) {
    const auto known = adapters_.find(strength);
    if (known != adapters_.end()) return known->second;
    return adapters_.emplace(strength, trained_.frozen_copy(context_.placement(), strength)).first->second;
  }

  RunContext& context_;
  const Prepared& prepared_;
  const hv::Adapter& trained_;
  hv::Transformer transformer_;
  diffusion::FlowMatchEulerScheduler scheduler_;
  std::map<double, hv::Adapter> adapters_;
};

void make_missing(RunContext& context, const Prepared& prepared, const std::vector<PlannedCandidate>& candidates) {
  run_directory::CandidateStore store(context.layout().candidates());
  const auto missing = work::find_missing(context.world(), candidates.size(), [&](std::size_t i) { return store.contains(candidates[i].key); });
  if (missing.empty()) return;
  const hv::Adapter trained = load_trained(context, Stage::reconstruct);
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

std::string hash_of_candidate_keys(const CandidatePlan& plan) {
  json keys = json::array();
  for (const auto& candidate : plan.candidates) keys.push_back(candidate.key);
  return base::hash_json(keys);
}

}  // namespace

run_directory::Fingerprint generate_fingerprint(RunContext& context) {
  return {context.options_of({"seed", "model", "video", "generate"}),
          {{"prepare", context.result_of(Stage::prepare)},
           {"reconstruct", context.result_of(Stage::reconstruct)},
           {"candidates", hash_of_candidate_keys(candidate_plan(context))}}};
}

void generate(RunContext& context) {
  require_predecessors(context, Stage::generate);
  context.stage(Stage::generate, generate_fingerprint(context), [&] {
    const CandidatePlan plan = candidate_plan(context);
    make_missing(context, read_prepared(context), plan.candidates);
    RunContext::StageResult done{.result = hash_of_candidate_keys(plan)};
    comm::agree(context.world(), "merging the candidates", [&] {
      if (!context.leader()) return;
      run_directory::CandidateStore store(context.layout().candidates());
      done.files = store.merge();
    });
    return done;
  });
}

}  // namespace magicid::commands
