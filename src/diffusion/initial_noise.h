// Noise tensors from counter-based random numbers: functions of (seed, purpose, step, element), the same on every layout of ranks.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>
#include <string_view>

namespace magicid::diffusion {

// Standard normal numbers, fp32, contiguous, on the CPU (move it where it is needed: devices then see the same bits). `purpose` keeps
// draws for different uses apart ("candidate-noise", "training-noise"), `step` those of one use.
at::Tensor initial_noise(std::uint64_t seed, std::string_view purpose, c10::IntArrayRef shape, std::uint64_t step = 0);

}  // namespace magicid::diffusion
