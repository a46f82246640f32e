// The flow-matching error that both objectives are made of.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "models/generator/denoiser.h"
#include "parallel/sample_ranks.h"

namespace magicid::objectives {

// One noisy sample, on any device (moved to the transformer's): x_sigma = (1 - sigma) x0 + sigma noise.
struct NoisySample {
  at::Tensor latents;  // x0 [1,C,T,H,W], scaled by the autoencoder's scaling_factor
  at::Tensor noise;    // of the same shape, any device
  double sigma = 0;    // in (0,1)
};

// What a stage draws its noise with, and tells the network while it trains.
struct NoiseOptions {
  std::uint64_t seed = 0;
  double shift = 1;     // of the noise schedule
  double guidance = 1;  // the embedded guidance scale
};

// How a sample is computed: by which ranks, and what its backward computes again.
struct Execution {
  parallel::SampleRanks* ranks = nullptr;  // null: by this rank alone
  models::generator::RecomputePlan recompute;
};

// This rank's part of mean((v_theta(x_sigma, 1000 sigma) - (noise - x0))^2) over the latents' elements: the sum over its tokens, divided by the number
// of all elements, a scalar tensor in at least fp32. Parts and their gradients sum up over the sequence group; nothing is summed in here. With autograd when
// grad mode is on. `guidance` is the embedded guidance scale (times 1000 inside; not read by models without it). Collective over the sequence
// group, and so is backward.
at::Tensor velocity_error(const models::generator::Denoiser& denoiser, const models::generator::Adapter* adapter, const NoisySample& sample,
                          const models::generator::Condition& condition, double guidance, const Execution& execution = {});

}  // namespace magicid::objectives
