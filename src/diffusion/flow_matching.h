// Flow matching on straight paths between data and noise (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003).
//
// sigma in [0,1] is the share of noise: x_sigma = (1 - sigma) x0 + sigma noise, 0 is data and 1 is noise. The model predicts the velocity
// d x_sigma / d sigma = noise - x0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace magicid::diffusion {

// shift * u / (1 + (shift - 1) u): moves sigmas towards noise for shift > 1 (Esser et al. 2024, arXiv 2403.03206, section 5.3.2).
double shift_sigma(double u, double shift);

// (1 - sigma) x0 + sigma noise in fp32. x0, noise [B,...] of one shape; sigma [B], or one number for all.
at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& sigma);
at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, double sigma);

// noise - x0 in fp32: what the model is trained to predict, at every sigma.
at::Tensor velocity_target(const at::Tensor& x0, const at::Tensor& noise);

// The sigma of one training example: u uniform in (0,1), stratified over the global batch, then shifted. Example `index` of
// `global_batch` at `step` falls into a stratum of its own, by a permutation drawn for each step, so no place in the batch is tied to a
// noise level. A function of its arguments alone: every rank layout draws the same. The timestep is 1000 sigma, not rounded.
double sample_sigma(std::uint64_t seed, std::uint64_t step, std::int64_t index, std::int64_t global_batch, double shift);

}  // namespace magicid::diffusion
