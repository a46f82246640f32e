// The two kinds of guidance: embedded (a number that the distilled model is told) and true (two predictions combined).
// Reference: diffusers' pipeline_hunyuan_video.py.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>

namespace magicid::diffusion {

// [batch] fp32, each 1000 * scale: what the transformer takes as `guidance`. Kept in fp32: both public implementations compute it in the
// model's dtype, where 6000 becomes 6016 in bf16.
at::Tensor embedded_guidance(double scale, std::int64_t batch, c10::Device device = c10::kCPU);

// True guidance costs a second forward; it is used only when it changes something and there is something to steer away from.
bool uses_true_guidance(double scale, bool has_negative_prompt);

// negative + scale * (positive - negative), element by element (Ho and Salimans 2022, arXiv 2207.12598).
at::Tensor true_guidance(const at::Tensor& positive, const at::Tensor& negative, double scale);

}  // namespace magicid::diffusion
