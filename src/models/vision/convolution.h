// Convolutions of the small evaluation networks, with a following batch norm folded in at loading, or kept beside them for training.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>

#include "models/nn/weights.h"
#include "models/vision/batch_norm.h"

namespace magicid::models::vision {

// What a convolution looks like, apart from its weights.
struct ConvShape {
  std::int64_t out, in;
  std::array<std::int64_t, 2> kernel{1, 1}, stride{1, 1}, padding{0, 0};
  std::int64_t groups = 1;
};

struct Convolution {
  at::Tensor weight;  // [out, in / groups, kh, kw]
  at::Tensor bias;    // [out] or undefined
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0};
  std::int64_t groups = 1;
  BatchNorm norm;  // defined only in training, after the convolution

  // x [N, in, H, W] -> [N, out, H', W'].
  at::Tensor operator()(const at::Tensor& x) const;
};

// y = scale * x + shift for each channel: a batch norm in evaluation mode.
struct ChannelAffine {
  at::Tensor scale, shift;  // [C], double: rounded once, where it is used
};

// Takes `name`.weight and, if `with_bias`, `name`.bias.
Convolution load_convolution(const nn::Weights& weights, const std::string& name, const ConvShape& shape, bool with_bias);

// Takes `name`.{weight,bias,running_mean,running_var} [channels]; num_batches_tracked is ignored. eps is 1e-5, PyTorch's own.
ChannelAffine load_batch_norm(const nn::Weights& weights, const std::string& name, std::int64_t channels);

// The convolution `conv` followed by the batch norm `norm`, as one convolution: the same function to rounding, and one pass less over
// the activations. For training, the two in a row.
Convolution load_convolution_and_norm(const nn::Weights& weights, const std::string& conv, const std::string& norm, const ConvShape& shape, bool with_bias,
                                      const NormMode& mode = {});

// max(x, 0) + slope * min(x, 0), x [N,C,H,W], slope [C]. Where the slope is being trained it is composed of ReLUs, whose gradients take
// half the time of at::prelu's on a CPU.
at::Tensor apply_prelu(const at::Tensor& x, const at::Tensor& slope);

}  // namespace magicid::models::vision
