// Changes of rendered pictures that keep their content: what reward networks will see was drawn by a small diffusion model and decoded from latents.
#pragma once

#include <ATen/core/Tensor.h>

#include "miniature/dice.h"

namespace magicid::pretraining {

// The same for all pictures of x [N,3,H,W] in 0..1: brightness, contrast and balance of the colours.
at::Tensor jitter_colours(const at::Tensor& x, miniature::Dice& dice);

// Softer, and with a little noise, by amounts that are drawn for all pictures of x together; half of the time nothing. As an autoencoder's decoder does.
at::Tensor degrade(const at::Tensor& x, miniature::Dice& dice);

}  // namespace magicid::pretraining
