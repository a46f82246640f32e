// `magicid generate`: candidate videos, drawn by the ranks from one queue; finished ones are found by key.

#include <chrono>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/progress.h"
#include "commands/adapters.h"
#include "commands/candidates.h"
#include "commands/stages.h"
#include "commands/work.h"
#include "comm/rank_errors.h"
#include "run_directory/candidate_store.h"

namespace magicid::commands {
namespace {

using nlohmann::json;
using run_directory::Stage;
namespace hv = models::hunyuan_video;

// A video is taken to be about as large as its noise: only the adapter differs between V_s and V_t.
class CandidateMaker {
 public:
  CandidateMaker(RunContext& context, const Prepared& prepared, const models::generator::Adapter& trained)
      : context_(context), prepared_(prepared), trained_(trained), transformer_(context.pipeline().load_transformer(context.placement())),
        scheduler_(context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift)) {}

  at::Tensor operator()(const PlannedCandidate& candidate) {
    if (candidate.source == preference::Source::still) return prepared_.references[static_cast<std::size_t>(candidate.sample)].still;
    const models::generator::Adapter* adapter = candidate.source == preference::Source::tuned ? &at_strength(candidate.strength) : nullptr;
    return sample_candidate(context_.config(), transformer_, context_.pipeline().autoencoder_config(), scheduler_, prepared_, candidate, adapter, &context_.sequence_ranks());
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
  const auto missing = find_missing(context, candidates.size(), [&](std::size_t i) { return store.contains(candidates[i].key); });
  if (missing.empty()) return;
  const models::generator::Adapter trained = load_trained(context, Stage::reconstruct);
  std::optional<CandidateMaker> generator;
  auto start = std::chrono::steady_clock::now();
  const auto make = [&](std::size_t i) {
    if (!generator) generator.emplace(context, prepared, trained);
    start = std::chrono::steady_clock::now();
    return (*generator)(candidates[i]).cpu();
  };
  work_through_together(context, "generate", missing, candidates.size(), make, [&](std::size_t i, const at::Tensor& latents) {
    store.put({.description = candidates[i].description,
               .metadata = {{"source", preference::to_string(candidates[i].source)},
                            {"prompt_index", candidates[i].prompt},
                            {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()},
                            {"rank", context.world().rank()},
                            {"node", comm::node_name()}},
               .latents = latents});
  });
}

}  // namespace

void generate(RunContext& context) {
  const std::string prepared_result = context.result_of(Stage::prepare), trained = context.result_of(Stage::reconstruct);
  Prepared prepared;
  comm::agree(context.world(), "reading prepared.h5", [&] { prepared = Prepared::load(context.layout().prepared()); });
  const CandidatePlan plan = candidate_plan(context, prepared);
  std::vector<std::string> keys;
  for (const auto& candidate : plan.candidates) keys.push_back(candidate.key);
  const std::string result = base::hash_json(json(keys));
  context.stage(Stage::generate, context.options_of({"seed", "model", "video", "generate"}), {{"prepare", prepared_result}, {"reconstruct", trained}, {"candidates", result}}, [&] {
    make_missing(context, prepared, plan.candidates);
    RunContext::StageResult done{.result = result};
    comm::agree(context.world(), "merging the candidates", [&] {
      if (!context.leader()) return;
      run_directory::CandidateStore store(context.layout().candidates());
      done.files = store.merge();
    });
    return done;
  });
}

}  // namespace magicid::commands
