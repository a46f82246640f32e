// The network between pixels and latents: what sampling, preparation and scoring know of a backbone's autoencoder.
//
// F frames, H and W rows and columns of pixels; C latent channels, T latent frames, h and w latent rows and columns.
#pragma once

#include <ATen/core/Tensor.h>

#include "models/nn/weights.h"

namespace magicid::models::generator {

class Codec {
 public:
  virtual ~Codec() = default;

  virtual const nn::Placement& placement() const = 0;

  // Frames [F,3,H,W] in 0..1, on any device -> latents [1,C,T,h,w] as the denoiser sees them (each backbone's own scaling: one factor, or a mean and a
  // deviation for each channel), fp32 on the network's device. The mean of the encoder's distribution: no random number takes part.
  virtual at::Tensor encode(const at::Tensor& frames) const = 0;

  // Such latents, on any device -> frames [F,3,H,W], clamped to 0..1, fp32 on the network's device. Differentiable in the latents when grad mode is on;
  // activations are then computed again in the backward.
  virtual at::Tensor decode(const at::Tensor& latents) const = 0;
};

}  // namespace magicid::models::generator
