// AdamW on one flat vector, by LibTorch's fused kernel (CPU and CUDA).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "training/options.h"

namespace magicid::training {

class AdamW {
 public:
  // State of zeros for parameters [P].
  AdamW(const at::Tensor& parameters, const Options& options);
  // Continues from a checkpoint: both [P]; `steps` updates were made.
  void restore(const at::Tensor& first_moment, const at::Tensor& second_moment, std::int64_t steps);

  // One update in place. `gradient` [P] is the mean over the global batch, already clipped.
  // Source: Loshchilov & Hutter 2019, algorithm 2, as torch.optim.AdamW computes it.
  void update(at::Tensor& parameters, at::Tensor& gradient, double learning_rate);

  const at::Tensor& first_moment() const { return first_moment_; }
  const at::Tensor& second_moment() const { return second_moment_; }
  std::int64_t steps() const { return steps_; }

 private:
  Options options_;
  at::Tensor first_moment_, second_moment_;
  std::int64_t steps_ = 0;
};

// The 2-norm of `gradient` (computed in fp64), which is scaled to `clip_norm` where it is larger and clip_norm > 0.
double clip_by_global_norm(at::Tensor& gradient, double clip_norm);

}  // namespace magicid::training
