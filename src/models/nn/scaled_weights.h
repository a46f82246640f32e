// Weights in 8 bits whose values are only right times a scale that is stored beside them.
// Sources: ComfyUI's comfy/ops.py and comfy/quant_ops.py (scaled_fp8, scale_weight; comfy_quant, weight_scale); Tencent's hyvideo/modules/fp8_optimization.py
// (_map.pt).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "models/nn/weight_source.h"

namespace magicid::models::nn {

// Replaces every scaled tensor by its value, fp8 times scale, rounded once to bf16; removes the scales and marks; says so in `notes`. Scales are taken from the
// source itself or, for Tencent's files, from NAME_map.pt beside the file. Throws UserError that names the tensor for scalings that are not known (nvfp4,
// mxfp8, blocks), for scales of another shape than one number or one a row, and for a file of Tencent's fp8 without its map.
void apply_scales(WeightSource& source);

// The names among `names` that say that weights are stored with scales beside them.
std::vector<std::string> scale_names(const std::vector<std::string>& names);

// Throws UserError when `values`, an fp8 tensor that is about to be read as it is, can only be a scaled one: scaling fills fp8's range (448 for e4m3fn), which
// weights of networks do not reach. Other dtypes pass.
void check_plain_cast(const at::Tensor& values, const std::string& place);

}  // namespace magicid::models::nn
