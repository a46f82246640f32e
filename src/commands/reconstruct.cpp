// `magicid reconstruct`: stage 1, the adapter learns the photos.

#include <optional>

#include "base/errors.h"
#include "base/hash.h"
#include "commands/adapters.h"
#include "commands/candidates.h"
#include "commands/fingerprints.h"
#include "commands/stages.h"
#include "commands/training_speed.h"
#include "objectives/reconstruction.h"
#include "run_directory/candidate_store.h"
#include "training/step_loop.h"
#include "work/pieces.h"

namespace magicid::commands {
namespace {

using run_directory::Stage;
namespace hv = models::hunyuan_video;

// Class samples for prior preservation: made by the bare model where they are missing, shared over the ranks, then read by all of them. Collective.
std::vector<objectives::ReconstructionItem> class_samples(RunContext& context, const Prepared& prepared, const hv::Transformer& transformer,
                                                          const std::vector<PlannedCandidate>& plan) {
  run_directory::CandidateStore store(context.layout().candidates());
  const auto missing = work::find_missing(context.world(), plan.size(), [&](std::size_t i) { return store.contains(plan[i].key); });
  const auto scheduler = context.pipeline().scheduler().with_shift(context.config().generate.sampling.shift);
  const auto make = [&](std::size_t i, work::Pulse& pulse) {
    return sample_candidate(context.config(), transformer, context.pipeline().autoencoder_config(), scheduler, prepared, plan[i], nullptr,
                            beat_at_each_step(pulse), &context.sequence_ranks())
        .cpu();
  };
  work::work_through_together(context.work_ranks(), {"class samples", missing, plan.size()}, make, [&](std::size_t i, const at::Tensor& latents) {
    store.put({.description = plan[i].description,
               .metadata = {{"source", "class sample"}, {"prompt_index", plan[i].prompt}, {"rank", context.world().rank()}},
               .latents = latents});
  });
  std::vector<objectives::ReconstructionItem> items;
  comm::agree(context.world(), "reading the class samples", [&] {
    store.refresh();
    for (const auto& planned : plan) {
      const auto found = store.find(planned.key);
      if (!found)
        throw base::UserError(context.layout().candidates().string(), ": class sample ", planned.key,
                              " is missing or damaged; run `magicid reconstruct` again");
      items.push_back({found->latents, prepared.prompt(planned.text)});
    }
  });
  return items;
}

// Every photo, and the class sample beside it.
std::function<TrainingWork(const training::StepRecord&)> work_of(const RunContext& context, const objectives::Reconstruction& objective) {
  const auto counter = std::make_shared<WorkCounter>(WorkCounter::of(context));
  const std::int64_t batch = context.config().reconstruct.training.global_batch;
  return [counter, &objective, batch](const training::StepRecord& done) {
    const std::int64_t step = done.step - 1;
    TrainingWork work;
    for (std::int64_t slot = 0; slot < batch; ++slot) {
      const auto& photo = objective.item_of(step * batch + slot);
      work += counter->trained(counter->tokens_of(photo.latents, photo.condition));
      if (const auto* prior = objective.prior_of(step * batch + slot)) work += counter->trained(counter->tokens_of(prior->latents, prior->condition));
    }
    return work;
  };
}

// Collective.
std::vector<PlannedCandidate> planned_class_samples(RunContext& context) {
  const Configuration& c = context.config();
  std::vector<PlannedCandidate> planned;
  if (c.reconstruct.prior_preservation.weight > 0)
    comm::agree(context.world(), "planning the class samples", [&] { planned = plan_class_samples(c, read_prompt_templates(c.prompts), context.model()); });
  return planned;
}

}  // namespace

run_directory::Fingerprint reconstruct_fingerprint(RunContext& context) {
  nlohmann::json inputs{{"model", context.model().model}, {"prepare", context.result_of(Stage::prepare)}};
  if (context.config().reconstruct.prior_preservation.weight > 0) {
    nlohmann::json keys = nlohmann::json::array();
    for (const auto& sample : planned_class_samples(context)) keys.push_back(sample.key);
    inputs["class_samples"] = base::hash_json(keys);
  }
  return {context.options_of({"seed", "model", "adapter", "reconstruct"}), inputs};
}

void reconstruct(RunContext& context) {
  const Configuration& c = context.config();
  const auto recompute = recompute_plan(context);
  const auto& prior = c.reconstruct.prior_preservation;
  require_predecessors(context, Stage::reconstruct);
  context.stage(Stage::reconstruct, reconstruct_fingerprint(context), [&] {
    const auto planned = planned_class_samples(context);
    const Prepared prepared = read_prepared(context);
    const auto transformer = read_transformer(context, context.world());
    objectives::ReconstructionPrior samples{.weight = prior.weight, .shift = prior.kind == "video" ? c.generate.sampling.shift : c.reconstruct.shift};
    if (prior.weight > 0) samples.items = class_samples(context, prepared, transformer, planned);
    auto adapter = models::generator::Adapter::create(transformer.adaptable(), adapter_options(c), context.placement().device);
    std::vector<objectives::ReconstructionItem> items;
    for (const auto& reference : prepared.references) items.push_back({reference.latents, prepared.prompt(reference.caption)});
    objectives::Reconstruction objective(transformer, adapter, std::move(items), context.seed(), c.reconstruct.shift, 1.0, std::move(samples),
                                         {.ranks = &context.sequence_ranks(), .recompute = recompute});
    TrainingFiles files(context, context.layout().reconstruct(), "reconstruct", adapter);
    training::run_steps("reconstruct", c.reconstruct.training, objective, context.world(), context.mesh_without_pairs(),
                        with_speed(files.hooks(), work_of(context, objective), peak_flops(context)));
    return files.result();
  });
}

}  // namespace magicid::commands
