// The candidate videos of a run: which there must be, and what determines each.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/identities.h"
#include "commands/prepared.h"
#include "commands/run_context.h"
#include "diffusion/flow_match_scheduler.h"
#include "diffusion/sampler.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/transformer.h"
#include "preference/pairs.h"
#include "work/pulse.h"

namespace magicid::commands {

struct PlannedCandidate {
  std::string key;             // hash of `description`
  nlohmann::json description;  // all that determines the latents
  preference::Source source = preference::Source::initial;
  std::int64_t prompt = -1;  // index of the template; -1 for stills
  std::string text;          // the rendered prompt it is made from and scored against
  std::int64_t sample = 0;   // which of the prompt's videos, or which photo
  double strength = 0;       // of the stage-1 adapter; 0 for V_s
};

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

// The latents [1,C,T,H,W] of a generated candidate, fp32 on the transformer's device. `scheduler` has the shift of generate.shift; `adapter` may be null;
// `after_step` as in generation::sample_latents. Collective over the sequence group of `ranks` (null: this rank alone).
at::Tensor sample_candidate(const Configuration& configuration, const models::hunyuan_video::Transformer& transformer,
                            const models::hunyuan_video::AutoencoderConfig& autoencoder, const diffusion::FlowMatchEulerScheduler& scheduler,
                            const Prepared& prepared, const PlannedCandidate& candidate, const models::generator::Adapter* adapter,
                            const diffusion::StepCallback& after_step, parallel::SampleRanks* ranks = nullptr);

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
CandidatePlan candidate_plan(RunContext& context);

}  // namespace magicid::commands
