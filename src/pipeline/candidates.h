// The candidate videos of a run: which there must be, and what determines each.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "diffusion/flow_match_scheduler.h"
#include "diffusion/sampler.h"
#include "models/generator/denoiser.h"
#include "pipeline/identities.h"
#include "pipeline/prepared.h"
#include "pipeline/run.h"
#include "preference/pairs.h"
#include "work/pulse.h"

namespace magicid::pipeline {

struct PlannedCandidate {
  std::string key;             // hash of `description`
  nlohmann::json description;  // all that determines the latents
  preference::Source source = preference::Source::initial;
  std::int64_t prompt = -1;  // index of the template; -1 for stills
  std::string text;          // the rendered prompt it is made from and scored against
  std::int64_t sample = 0;   // which of the prompt's videos, or which photo
  double strength = 0;       // of the stage-1 adapter; 0 for V_s
};

// What determines the part of the trained adapter in a video: its hash, its strength, and the range of sigma in which it acts where that is not everywhere.
nlohmann::json adapter_description(const SamplingOptions& options, const std::string& trained, double strength);

// What determines a sampled video beside its prompt, noise and adapter: model, dtype, size, the text encoder's template, the sampler.
nlohmann::json generation_description(const Configuration& configuration, const ModelIdentity& model);

// V_id, V_s, V_t in this order; a function of the configuration and of what was prepared and trained, the same on every rank. `stills` are hashes of the
// stills' latents (PreparedContents), so that a still's key follows from what it shows, whichever photo, detector or chosen face it comes from. V_s does not
// depend on the person beyond the class, so that its keys are shared by all identities of a class.
std::vector<PlannedCandidate> plan_candidates(const Configuration& configuration, const std::vector<std::string>& stills,
                                              const std::vector<std::string>& templates, const ModelIdentity& model, const std::string& reconstruct_result);

// Samples of the bare model for the class, without the trigger, that stage 1 preserves its prior by; none when reconstruct.prior_preservation.weight is 0.
// `kind: image`: one frame of reconstruct.prompt each; `kind: video`: the first V_s of the training prompts in turn, with their keys, so that `generate` finds
// them.
std::vector<PlannedCandidate> plan_class_samples(const Configuration& configuration, const std::vector<std::string>& templates, const ModelIdentity& model);

// Previews of an adapter in training: one video of each template, with the trigger, as V_t at strength 1 but for the noise, which is of optimize.previews.seed.
// `adapter` is the hash of its parameters.
std::vector<PlannedCandidate> plan_previews(const Configuration& configuration, const std::vector<std::string>& templates, const ModelIdentity& model,
                                            const std::string& adapter);

// Makes latents [1,C,T,H,W] of generated candidates, fp32 on the transformer's device.
class CandidateSampler {
 public:
  // Borrows the transformer. Collective over the session's sequence group. Both must outlive it.
  CandidateSampler(session::Session& session, const Run& run);

  // `adapter` may be null: the bare model; it acts where generate.adapter_sigmas says. `prompts` holds the candidate's text, and the negative prompt where
  // generation is guided. A sign of life after each denoising step, and base::RequeueRequest when the job is asked to stop. Collective over the sequence group.
  at::Tensor operator()(const PlannedCandidate& candidate, const Prepared& prepared, const models::generator::Adapter* adapter, work::Pulse& pulse) const;

  // The same for any prompt, noise and size that the model takes: what evaluation and previews sample with.
  at::Tensor sample(const at::Tensor& noise, const std::string& text, const std::map<std::string, models::generator::Condition>& prompts,
                    const models::generator::Adapter* adapter, work::Pulse& pulse) const;

  std::vector<std::int64_t> latent_shape(const models::generator::VideoSize& size) const { return run_.backbone().latent_shape(size); }

 private:
  session::Session& session_;
  const Run& run_;
  std::shared_ptr<const models::generator::Denoiser> denoiser_;
  diffusion::FlowMatchEulerScheduler scheduler_;
  std::vector<models::generator::Adapter> further_;  // generate.with_adapters
};

// After each denoising step a sign of life, and base::RequeueRequest when the job is asked to stop. `pulse` must outlive it.
diffusion::StepCallback beat_at_each_step(work::Pulse& pulse);

// The initial noise [1,C,T,H,W] of a candidate: a function of its key's random part (seed, source, template, sample).
at::Tensor candidate_noise(const PlannedCandidate& candidate, const std::vector<std::int64_t>& shape);

// Name of its preview below previews/.
std::string preview_name(const PlannedCandidate& candidate);

// The templates and the candidates of this run, as generate and the stages after it need them. After prepare and reconstruct. Collective.
struct CandidatePlan {
  std::vector<std::string> templates;
  std::vector<PlannedCandidate> candidates;
};
CandidatePlan candidate_plan(session::Session& session, Run& run);

}  // namespace magicid::pipeline
