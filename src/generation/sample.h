// From a prompt to latents to frames.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "diffusion/flow_match_scheduler.h"
#include "diffusion/sampler.h"
#include "generation/acting_adapters.h"
#include "models/generator/codec.h"
#include "models/generator/condition.h"
#include "models/generator/denoiser.h"
#include "parallel/sample_ranks.h"

namespace magicid::generation {

// Another scale of true guidance for the end of the denoising (Wan 2.2's guidance_scale_2): at noise levels up to `up_to`.
struct LateGuidance {
  double up_to = 0, true_cfg = 1;
};

struct SampleOptions {
  int steps = 50;
  double guidance = 6.0;  // embedded
  double true_cfg = 1.0;  // true guidance, used above 1 with a negative condition
  std::optional<LateGuidance> late = {};
  // The last so many steps are recorded for gradients where grad mode is on (Clark et al., "DRaFT", arXiv:2309.17400: the last K); 0: none.
  int gradient_steps = 0;
  models::generator::RecomputePlan recompute = {};  // what the backward of those steps computes again
};

// One video.
struct SampleRequest {
  at::Tensor noise;  // [1,C,T,H,W], fp32, any device
  models::generator::Condition prompt;
  std::optional<models::generator::Condition> negative = {};
  std::vector<AppliedAdapter> adapters = {};  // each acts in its range of sigma; none: the bare model
  SampleOptions options = {};
};

// The denoising loop from noise to latents [1,C,T,H,W], fp32 on the denoiser's device, as diffusers' output_type="latent". Without autograd but for the last
// options.gradient_steps: the result is then differentiable in the parameters of the adapter that acts there, and the denoiser and the adapter must stay until
// backward. `ranks` (null: this rank alone) share the video's tokens: every one of them makes the same call and gets the same latents, equal to one rank's to
// rounding. Throws UserError for a range of sigma that holds none, and for gradients over several ranks or through several adapters that act at once.
// Collective over the sequence group of `ranks`; `after_step` must then throw on all of them or on none.
at::Tensor sample_latents(const models::generator::Denoiser& denoiser, const diffusion::FlowMatchEulerScheduler& scheduler, const SampleRequest& request,
                          const diffusion::StepCallback& after_step = {}, parallel::SampleRanks* ranks = nullptr);

// Latents [1,C,T,H,W] to frames [F,3,H,W] in 0..1, fp32 on the CPU (diffusers' output_type="pt" without the batch). Without autograd: Codec::decode has it.
at::Tensor decode_frames(const models::generator::Codec& codec, const at::Tensor& latents);
// Frames [F,3,H,W] in 0..1 to latents [1,C,T,H,W], fp32 on the codec's device. Without autograd.
at::Tensor encode_frames(const models::generator::Codec& codec, const at::Tensor& frames);

}  // namespace magicid::generation
