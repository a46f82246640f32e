// Adaptive layer norm: what a transformer block of a diffusion model does to its tokens before attention and before the MLP.
//
// B batch, S tokens, D channels.
#pragma once

#include <ATen/core/Tensor.h>

namespace magicid::models::nn {

// layer_norm(x) * (1 + scale) + shift, where the norm runs over D with biased variance and no weight of its own, and shift and scale hold
// for all tokens of a sample. x [B,S,D]; shift, scale [B,D], of x's dtype and device. Returns [B,S,D] in x's dtype.
//
// Differentiable in all three. On CUDA, where nothing asks for gradients, one kernel does it in one pass over x, in fp32 up to the
// final rounding (float32 and bfloat16; other dtypes and very wide rows take the same way as the CPU).
// Throws InvariantError on shapes that do not fit.
// Source: Peebles and Xie 2023, "Scalable Diffusion Models with Transformers", section 3.2 (adaLN).
at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps);

}  // namespace magicid::models::nn
