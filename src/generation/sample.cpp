#include "generation/sample.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include "base/errors.h"
#include "diffusion/guidance.h"

namespace magicid::generation {

using models::generator::Condition;
using models::generator::Denoiser;

namespace {

// The network's prediction under one condition, by this rank or by all that share the tokens.
struct Prediction {
  const Denoiser& denoiser;
  const models::generator::Adapter* adapter;
  double guidance, timestep;
  const models::generator::TokenWork& work;
  parallel::SampleRanks* shared;  // null: this rank alone

  at::Tensor operator()(const at::Tensor& latents, const Condition& condition) const {
    at::Tensor tokens = denoiser.velocity_tokens({.latents = latents, .timestep = timestep, .guidance = guidance, .condition = condition}, adapter, work);
    if (shared != nullptr) tokens = shared->gather_video(tokens);
    return denoiser.unpatchify(tokens, latents.size(2), latents.size(3), latents.size(4));
  }
};

void check_gradient_steps(const SampleOptions& options, const diffusion::NoiseSchedule& schedule, const ActingAdapters& adapters, bool shared) {
  if (options.gradient_steps == 0) return;
  if (shared) throw base::UserError("sampling with gradients works on one rank a video; the ranks here share its tokens (mesh.sequence)");
  for (int step = std::max(0, schedule.steps() - options.gradient_steps); step < schedule.steps(); ++step)
    if (const double sigma = schedule.sigmas[static_cast<std::size_t>(step)]; adapters.count(sigma) > 1)
      throw base::UserError("sampling with gradients: ", adapters.count(sigma), " adapters act at sigma ", sigma,
                            ", and gradients go to one; give them ranges apart");
}

}  // namespace

at::Tensor sample_latents(const Denoiser& denoiser, const diffusion::FlowMatchEulerScheduler& scheduler, const SampleRequest& request,
                          const diffusion::StepCallback& after_step, parallel::SampleRanks* ranks) {
  const auto& options = request.options;
  const bool wanted = c10::GradMode::is_enabled();
  const auto schedule = scheduler.schedule(options.steps);
  ActingAdapters adapters(request.adapters, denoiser.placement());
  const bool shared = ranks != nullptr && ranks->sequence_size() > 1;
  check_gradient_steps(options, schedule, adapters, shared);

  const auto device = denoiser.placement().device;
  const Condition positive = request.prompt.to(device);
  const auto scale_at = [&](double sigma) { return options.late && sigma <= options.late->up_to ? options.late->true_cfg : options.true_cfg; };
  const std::optional<Condition> away = request.negative ? std::optional(request.negative->to(device)) : std::nullopt;
  const models::generator::TokenWork work{shared ? ranks->attention() : models::generator::local_joint_attention(), options.recompute};

  const auto velocity = [&](const at::Tensor& latents, double timestep, int step) {
    const double sigma = schedule.sigmas[static_cast<std::size_t>(step)], scale = scale_at(sigma);
    const Prediction predict{denoiser, adapters.at(sigma), options.guidance, timestep, work, shared ? ranks : nullptr};
    const at::Tensor conditioned = predict(latents, positive);
    return diffusion::uses_true_guidance(scale, away.has_value()) ? diffusion::true_guidance(conditioned, predict(latents, *away), scale) : conditioned;
  };
  const int recorded = wanted ? options.gradient_steps : 0;
  return diffusion::sample(schedule, request.noise.to(device), velocity, after_step, recorded);
}

at::Tensor decode_frames(const models::generator::Codec& codec, const at::Tensor& latents) {
  const c10::AutoGradMode no_grad(false);
  return codec.decode(latents).cpu();
}

at::Tensor encode_frames(const models::generator::Codec& codec, const at::Tensor& frames) {
  const c10::AutoGradMode no_grad(false);
  return codec.encode(frames);
}

}  // namespace magicid::generation
