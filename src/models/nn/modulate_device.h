// The CUDA kernel behind layer_norm_modulate (models/nn/modulate.h). modulate.cu defines it in a build with CUDA, modulate_none.cpp in
// one without.
#pragma once

#include <ATen/core/Tensor.h>

namespace magicid::models::nn {

// Whether the kernel takes this input: a CUDA tensor of float32 or bfloat16 whose rows fit into a block's shared memory. Always false
// in a build without CUDA.
bool device_modulates(const at::Tensor& x);

// As layer_norm_modulate, forward only, on the current stream of x's device. x [B,S,D], shift and scale [B,D], all contiguous, of one
// dtype, on one device, and device_modulates(x).
at::Tensor device_layer_norm_modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps);

}  // namespace magicid::models::nn
