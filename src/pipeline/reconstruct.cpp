// `magicid reconstruct`: stage 1, the adapter learns the photos.

#include <optional>

#include "base/errors.h"
#include "base/hash.h"
#include "base/log.h"
#include "models/generator/beginning.h"
#include "objectives/reconstruction.h"
#include "pipeline/candidates.h"
#include "pipeline/fingerprints.h"
#include "pipeline/networks.h"
#include "pipeline/stages.h"
#include "pipeline/training_files.h"
#include "pipeline/training_speed.h"
#include "run_directory/candidate_store.h"
#include "training/step_loop.h"
#include "work/pieces.h"

namespace magicid::pipeline {
namespace {

using run_directory::Stage;

// Class samples for prior preservation: made by the bare model where they are missing, shared over the ranks, then read by all of them. Collective.
std::vector<objectives::ReconstructionItem> class_samples(session::Session& session, Run& run, const Prepared& prepared,
                                                          const std::vector<PlannedCandidate>& plan) {
  run_directory::CandidateStore store(run.layout().candidates());
  const auto missing = work::find_missing(session.world(), plan.size(), [&](std::size_t i) { return store.contains(plan[i].key); });
  std::optional<CandidateSampler> sample;
  if (!missing.empty()) sample.emplace(session, run);
  const auto make = [&](std::size_t i, work::Pulse& pulse) { return (*sample)(plan[i], prepared, nullptr, pulse).cpu(); };
  work::work_through_together(work_ranks(session), {"class samples", missing, plan.size()}, make, [&](std::size_t i, const at::Tensor& latents) {
    store.put({.description = plan[i].description,
               .metadata = {{"source", "class sample"}, {"prompt_index", plan[i].prompt}, {"rank", session.world().rank()}},
               .latents = latents});
  });
  std::vector<objectives::ReconstructionItem> items;
  comm::agree(session.world(), "reading the class samples", [&] {
    store.refresh();
    for (const auto& planned : plan) {
      const auto found = store.find(planned.key);
      if (!found)
        throw base::UserError(run.layout().candidates().string(), ": class sample ", planned.key, " is missing or damaged; run `magicid reconstruct` again");
      items.push_back({found->latents, prepared.prompt(planned.text)});
    }
  });
  return items;
}

// Every photo, and the class sample beside it.
std::function<TrainingWork(const training::StepRecord&)> work_of(session::Session& session, const Run& run, const objectives::Reconstruction& objective) {
  const auto counter = std::make_shared<WorkCounter>(WorkCounter::of(run));
  const std::int64_t batch = run.config().reconstruct.training.global_batch;
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
std::vector<PlannedCandidate> planned_class_samples(session::Session& session, Run& run) {
  const Configuration& c = run.config();
  std::vector<PlannedCandidate> planned;
  if (c.reconstruct.prior_preservation.weight > 0)
    comm::agree(session.world(), "planning the class samples", [&] { planned = plan_class_samples(c, read_prompt_templates(c.prompts), run.model()); });
  return planned;
}

// A random A and B zero, or the values of adapter.initialize_from. Every rank reads the file. Collective.
models::generator::Adapter beginning_adapter(session::Session& session, const Run& run) {
  const Configuration& c = run.config();
  auto adapter = models::generator::Adapter::create(run.backbone().adaptable(), adapter_options(c), session.placement().device);
  const std::string& path = c.adapter.initialize_from;
  if (path.empty()) return adapter;
  comm::agree(session.world(), "reading adapter.initialize_from", [&] {
    models::generator::begin_with(adapter, run.backbone().read_adapter(path, {.device = session.placement().device, .dtype = at::kFloat}).adapter, path);
  });
  base::log::info("reconstruct: begins with " + path);
  return adapter;
}

}  // namespace

run_directory::Fingerprint reconstruct_fingerprint(session::Session& session, Run& run) {
  nlohmann::json inputs{{"model", run.model().model}, {"prepare", run.result_of(session, Stage::prepare)}};
  if (run.config().reconstruct.prior_preservation.weight > 0) {
    nlohmann::json keys = nlohmann::json::array();
    for (const auto& sample : planned_class_samples(session, run)) keys.push_back(sample.key);
    inputs["class_samples"] = base::hash_json(keys);
  }
  if (!run.model().beginning.is_null()) inputs["initialize_from"] = run.model().beginning;
  return {run.options_of({"seed", "model", "adapter", "reconstruct"}), inputs};
}

void reconstruct(session::Session& session, Run& run) {
  const Configuration& c = run.config();
  const auto recompute = recompute_plan(run);
  const auto& prior = c.reconstruct.prior_preservation;
  require_predecessors(session, run, Stage::reconstruct);
  run.stage(session, Stage::reconstruct, reconstruct_fingerprint(session, run), [&] {
    const auto planned = planned_class_samples(session, run);
    const Prepared prepared = read_prepared(session, run);
    const auto transformer = session::borrow_denoiser(session, run.backbone(), session.world());
    session.networks().let_go("training needs the memory");
    auto adapter = beginning_adapter(session, run);
    objectives::ReconstructionPrior samples{.weight = prior.weight, .shift = prior.kind == "video" ? c.generate.sampling.shift : c.reconstruct.shift};
    if (prior.weight > 0) samples.items = class_samples(session, run, prepared, planned);
    std::vector<objectives::ReconstructionItem> items;
    for (const auto& reference : prepared.references) items.push_back({reference.latents, prepared.prompt(reference.caption)});
    objectives::Reconstruction objective(*transformer, adapter, std::move(items), {.seed = run.seed(), .shift = c.reconstruct.shift}, std::move(samples),
                                         {.ranks = &session.sequence_ranks(), .recompute = recompute});
    TrainingFiles files(session, run, run.layout().reconstruct(), "reconstruct", adapter);
    training::run_steps("reconstruct", c.reconstruct.training, objective, session.world(), session.mesh_without_pairs(),
                        with_speed(files.hooks(), work_of(session, run, objective), peak_flops(session)));
    return files.result();
  });
}

}  // namespace magicid::pipeline
