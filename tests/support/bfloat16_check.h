// Training in bfloat16 beside training in float, for objectives over whole networks.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "models/nn/parameters.h"
#include "training/objective.h"

namespace magicid::tests {

// `single` and `half` are one objective over the same `parameters`, in float and in bfloat16. Two decimal digits of the products are left in bfloat16: the loss
// and the gradient must be those of float but for that, relative to the loss and to the gradient's length.
inline void expect_bfloat16_near_float(models::nn::Parameters& parameters, training::Objective& single, training::Objective& half, double loss_tolerance,
                                       double gradient_tolerance) {
  at::Tensor gradient = parameters.gradient();
  gradient.zero_();
  const double loss = single.accumulate(3, 0, 1)[0];
  const at::Tensor expected = gradient.clone();
  gradient.zero_();
  const double ours = half.accumulate(3, 0, 1)[0];
  const double off = ((gradient - expected).norm() / expected.norm()).item<double>();
  std::printf("loss %.5f, in bfloat16 %.5f; gradient off by %.4f of its length\n", loss, ours, off);
  EXPECT_NEAR(ours, loss, loss_tolerance * loss);
  EXPECT_LT(off, gradient_tolerance);
  EXPECT_GT(off, 0) << "bfloat16 was not used";
}

}  // namespace magicid::tests
