// The network that predicts velocities: what sampling and training know of a backbone.
//
// B samples, C latent channels, T latent frames, H and W latent rows and columns, S video tokens, N numbers of a token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/generator/adaptable.h"
#include "models/generator/adapter.h"
#include "models/generator/condition.h"
#include "models/generator/joint_attention.h"
#include "models/generator/recompute_plan.h"
#include "models/nn/weights.h"

namespace magicid::models::generator {

// One noisy video and what the network is told about it.
struct DenoiserInputs {
  at::Tensor latents;   // [1,C,T,H,W], floating, on the network's device: x_sigma = (1 - sigma) x0 + sigma noise
  double timestep = 0;  // 1000 sigma, not rounded
  double guidance = 1;  // the embedded guidance's scale; not read by backbones without it
  Condition condition;  // on the network's device
};

// How a forward is computed: which ranks share its tokens, and what its backward computes again.
struct TokenWork {
  JointAttention& attention = local_joint_attention();
  RecomputePlan recompute;
};

class Denoiser {
 public:
  virtual ~Denoiser() = default;

  virtual const nn::Placement& placement() const = 0;
  virtual Adaptable adaptable() const = 0;
  // Blocks that a RecomputePlan can be for.
  virtual std::int64_t blocks() const = 0;

  // The predicted velocity as tokens [1,S',N] in the weights' dtype, for the tokens of work.attention.video_range(S); to compare with patchify(target).
  // Differentiable in the adapter's parameters (and the latents) when grad mode is on: this, the adapter and work.attention must then stay until backward.
  // `adapter` may be null. Throws UserError for shapes that do not fit the network. Collective where work.attention is.
  virtual at::Tensor velocity_tokens(const DenoiserInputs& inputs, const Adapter* adapter, const TokenWork& work) const = 0;

  // [B,C,T,H,W] <-> [B,S,N].
  virtual at::Tensor patchify(const at::Tensor& latents) const = 0;
  virtual at::Tensor unpatchify(const at::Tensor& tokens, std::int64_t frames, std::int64_t rows, std::int64_t columns) const = 0;
};

}  // namespace magicid::models::generator
