// Convolutions over video tensors [B,C,T,H,W] (batch, channels, frames, height, width).
//
// Causal in time: an output frame sees its own and earlier input frames only. The border is the edge value repeated: on both sides
// of height and width, and only before the first frame in time.
// Reference: HunyuanVideoCausalConv3d in diffusers' autoencoder_kl_hunyuan_video.py.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/MemoryFormat.h>

#include <array>
#include <cstdint>
#include <string>

#include "models/nn/weights.h"

namespace magicid::models::nn {

// The layout that the device's convolutions and group norms take without reordering: channels last on the CPU, else contiguous.
at::MemoryFormat video_memory_format(c10::Device device);

// Extents of a video tensor behind its batch and channels.
struct VideoExtents {
  std::int64_t frames, height, width;
};

// The input of a causal convolution together with its border. The producer writes values straight into interior(), which saves the
// copy that padding a finished tensor would cost. Not for tensors that autograd records.
//
//   CausalInput input(x.options(), batch, channels, size, kernel);
//   at::silu_out(input.interior(), normalised);
//   y = conv.convolve(input.with_border());
class CausalInput {
 public:
  CausalInput(const at::TensorOptions& options, std::int64_t batch, std::int64_t channels, VideoExtents size, std::int64_t kernel);

  const at::Tensor& interior() const { return interior_; }  // [B,C,T,H,W], a view
  // Repeats the edges into the border; call it once, after interior() has been written. [B,C,T+k-1,H+k-1,W+k-1], or [B,C,1,H+k-1,W+k-1] for one frame.
  const at::Tensor& with_border() const;

 private:
  at::Tensor padded_, interior_;
  std::int64_t front_, side_;
};

struct CausalConv3d {
  at::Tensor weight;  // [O,I,k,k,k], k odd
  at::Tensor bias;    // [O]
  std::array<std::int64_t, 3> stride = {1, 1, 1};

  // Takes `name`.weight and `name`.bias.
  static CausalConv3d load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel,
                           std::array<std::int64_t, 3> stride = {1, 1, 1});

  std::int64_t kernel() const { return weight.size(-1); }

  // x [B,I,T,H,W] -> [B,O,ceil(T/sT),ceil(H/sH),ceil(W/sW)].
  at::Tensor operator()(const at::Tensor& x) const;

  // The same on an input that has its border. One frame (a temporal size of 1) stands for itself repeated k times, and is convolved
  // with the kernel summed over time. Tensors above `max_elements` are convolved in temporal pieces, since GPU kernels index with 32 bits.
  at::Tensor convolve(const at::Tensor& padded, std::int64_t max_elements = (std::int64_t{1} << 31) - 1) const;
};

// A convolution with a 1x1x1 kernel.
struct PointwiseConv3d {
  at::Tensor weight;  // [O,I,1,1,1]
  at::Tensor bias;    // [O]

  static PointwiseConv3d load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in);

  // x [B,I,T,H,W] -> [B,O,T,H,W].
  at::Tensor operator()(const at::Tensor& x) const;
};

}  // namespace magicid::models::nn
