#include "generation/sample.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "diffusion/guidance.h"

namespace magicid::generation {

using models::generator::Condition;
using models::generator::Denoiser;

void check_video_size(const VideoSize& size) {
  const auto nearest = [](std::int64_t value) { return std::max<std::int64_t>(16, (value + 8) / 16 * 16); };
  if (size.height <= 0 || size.width <= 0 || size.height % 16 != 0 || size.width % 16 != 0)
    throw base::UserError("a video of ", size.height, " x ", size.width, " (height x width): both must be positive multiples of 16, e.g. ",
                          nearest(size.height), " x ", nearest(size.width));
  if (size.frames < 1 || size.frames % 4 != 1)
    throw base::UserError("a video of ", size.frames, " frames: 4k+1 frames are needed (1, 5, 9, ...), e.g. ",
                          std::max<std::int64_t>(0, (size.frames - 1) / 4) * 4 + 1);
}

std::vector<std::int64_t> latent_shape(const VideoSize& size, const models::hunyuan_video::TransformerConfig& transformer,
                                       const models::hunyuan_video::AutoencoderConfig& autoencoder) {
  check_video_size(size);
  const auto divide = [](const char* what, std::int64_t pixels, std::int64_t ratio, std::int64_t patch) {
    if (pixels % (ratio * patch) != 0)
      throw base::UserError(what, " ", pixels, " is not a multiple of ", ratio * patch, " (the autoencoder's ratio ", ratio, " times the transformer's patch ",
                            patch, ")");
    return pixels / ratio;
  };
  const std::int64_t temporal = autoencoder.temporal_compression_ratio;
  if ((size.frames - 1) % temporal != 0) throw base::UserError("frames ", size.frames, ": ", temporal, "k+1 are needed by this autoencoder");
  const std::int64_t frames = (size.frames - 1) / temporal + 1;
  if (frames % transformer.patch_size_t != 0)
    throw base::UserError("frames ", size.frames, " give ", frames, " latent frames, which are not a multiple of the transformer's patch_size_t ",
                          transformer.patch_size_t);
  return {1, transformer.in_channels, frames, divide("height", size.height, autoencoder.spatial_compression_ratio, transformer.patch_size),
          divide("width", size.width, autoencoder.spatial_compression_ratio, transformer.patch_size)};
}

at::Tensor sample_latents(const Denoiser& denoiser, const models::generator::Adapter* adapter, const diffusion::FlowMatchEulerScheduler& scheduler,
                          const at::Tensor& noise, const Condition& prompt, const std::optional<Condition>& negative, const SampleOptions& options,
                          const diffusion::StepCallback& after_step, parallel::SampleRanks* ranks) {
  const c10::AutoGradMode no_grad(false);
  const auto device = denoiser.placement().device;
  const Condition positive = prompt.to(device);
  const bool true_guidance = diffusion::uses_true_guidance(options.true_cfg, negative.has_value());
  const std::optional<Condition> away = true_guidance ? std::optional(negative->to(device)) : std::nullopt;
  const bool shared = ranks != nullptr && ranks->sequence_size() > 1;
  const models::generator::TokenWork work{shared ? ranks->attention() : models::generator::local_joint_attention(), {}};

  const auto velocity_for = [&](const Condition& condition, const at::Tensor& latents, double timestep) {
    at::Tensor tokens =
        denoiser.velocity_tokens({.latents = latents, .timestep = timestep, .guidance = options.guidance, .condition = condition}, adapter, work);
    if (shared) tokens = ranks->gather_video(tokens);
    return denoiser.unpatchify(tokens, latents.size(2), latents.size(3), latents.size(4));
  };
  const auto velocity = [&](const at::Tensor& latents, double timestep, int) {
    const at::Tensor conditioned = velocity_for(positive, latents, timestep);
    return away ? diffusion::true_guidance(conditioned, velocity_for(*away, latents, timestep), options.true_cfg) : conditioned;
  };
  return diffusion::sample(scheduler.schedule(options.steps), noise.to(device), velocity, after_step);
}

at::Tensor decode_frames(const models::hunyuan_video::Autoencoder& autoencoder, const at::Tensor& latents,
                         const models::hunyuan_video::AutoencoderOptions& options) {
  const c10::AutoGradMode no_grad(false);
  // Scaled in fp32: the autoencoder casts to its own dtype.
  const at::Tensor sample = autoencoder.decode(latents.to(at::kFloat) / autoencoder.config().scaling_factor, options);
  return sample[0].to(at::kFloat).mul(0.5).add_(0.5).clamp_(0, 1).transpose(0, 1).contiguous().cpu();
}

at::Tensor encode_frames(const models::hunyuan_video::Autoencoder& autoencoder, const at::Tensor& frames,
                         const models::hunyuan_video::AutoencoderOptions& options) {
  const c10::AutoGradMode no_grad(false);
  const at::Tensor sample = frames.to(at::kFloat).mul(2).sub_(1).transpose(0, 1).unsqueeze(0);
  return autoencoder.encode(sample, options).mean.to(at::kFloat).mul_(autoencoder.config().scaling_factor);
}

}  // namespace magicid::generation
