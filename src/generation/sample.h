// From a prompt to latents to frames.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "diffusion/flow_match_scheduler.h"
#include "diffusion/sampler.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/transformer.h"
#include "models/text/prompt_encoder.h"
#include "parallel/sample_ranks.h"

namespace magicid::generation {

using models::text::PromptEmbeddings;

struct VideoSize {
  std::int64_t height = 0, width = 0, frames = 0;  // pixels
};

// Throws UserError unless height and width are positive multiples of 16 and frames is 4k+1.
void check_video_size(const VideoSize& size);
// [1,C,T,H,W] of the latents of such a video. Throws UserError for a size that the autoencoder's ratios or the transformer's patch do not divide.
std::vector<std::int64_t> latent_shape(const VideoSize& size, const models::hunyuan_video::TransformerConfig& transformer,
                                       const models::hunyuan_video::AutoencoderConfig& autoencoder);

struct SampleOptions {
  int steps = 50;
  double guidance = 6.0;  // embedded
  double true_cfg = 1.0;  // true guidance, used above 1 with negative embeddings
};

// The denoising loop from `noise` (fp32, [1,C,T,H,W]) to latents, fp32 on the denoiser's device, as diffusers' output_type="latent".
// `adapter` may be null. Runs without autograd. `ranks` (null: this rank alone) share the video's tokens: every one of them makes the same call and gets the
// same latents, equal to one rank's to rounding. Collective over their sequence group; `after_step` must then throw on all of them or on none.
at::Tensor sample_latents(const models::generator::Denoiser& denoiser, const models::generator::Adapter* adapter,
                          const diffusion::FlowMatchEulerScheduler& scheduler, const at::Tensor& noise, const models::generator::Condition& prompt,
                          const std::optional<models::generator::Condition>& negative, const SampleOptions& options,
                          const diffusion::StepCallback& after_step = {}, parallel::SampleRanks* ranks = nullptr);

// Latents [1,C,T,H,W] to frames [F,3,H,W] in 0..1, fp32 on the CPU (diffusers' output_type="pt" without the batch).
at::Tensor decode_frames(const models::hunyuan_video::Autoencoder& autoencoder, const at::Tensor& latents,
                         const models::hunyuan_video::AutoencoderOptions& options = {});
// Frames [F,3,H,W] in 0..1 to scaled latents [1,C,T,H,W], fp32 on the autoencoder's device: the mean of the encoder's distribution.
at::Tensor encode_frames(const models::hunyuan_video::Autoencoder& autoencoder, const at::Tensor& frames,
                         const models::hunyuan_video::AutoencoderOptions& options = {});

}  // namespace magicid::generation
