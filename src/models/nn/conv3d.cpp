#include "models/nn/conv3d.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv3d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mkldnn_convolution.h>
#include <ATen/ops/replication_pad3d.h>

#include <algorithm>
#include <vector>

#include "base/errors.h"

namespace magicid::models::nn {
namespace {

constexpr std::int64_t kFrames = 2, kHeight = 3, kWidth = 4;

// at::conv3d leaves oneDNN aside for one sample of few channels, frames and rows and unfolds the input instead, at several times the cost
// in time and memory. Where gradients are off oneDNN is therefore called by name.
at::Tensor convolve_unpadded(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const std::array<std::int64_t, 3>& stride) {
  const bool direct = !at::GradMode::is_enabled() && x.is_cpu() && x.scalar_type() == at::kFloat && at::hasMKLDNN() && at::globalContext().userEnabledMkldnn();
  if (!direct) return at::conv3d(x, weight, bias, stride);
  return at::mkldnn_convolution(x, weight, bias, /*padding=*/{0, 0, 0}, stride, /*dilation=*/{1, 1, 1}, /*groups=*/1);
}

at::Tensor in_video_format(const at::Tensor& x) { return x.contiguous(video_memory_format(x.device())); }

}  // namespace

at::MemoryFormat video_memory_format(c10::Device device) { return device.is_cpu() ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous; }

CausalInput::CausalInput(const at::TensorOptions& options, std::int64_t batch, std::int64_t channels, VideoExtents size, std::int64_t kernel)
    // One frame needs no copies of itself before it: see CausalConv3d::convolve.
    : front_(size.frames == 1 ? 0 : kernel - 1), side_(kernel / 2) {
  padded_ = at::empty({batch, channels, size.frames + front_, size.height + 2 * side_, size.width + 2 * side_},
                      options.memory_format(video_memory_format(options.device())));
  interior_ = padded_.narrow(kFrames, front_, size.frames).narrow(kHeight, side_, size.height).narrow(kWidth, side_, size.width);
}

const at::Tensor& CausalInput::with_border() const {
  const std::int64_t frames = interior_.size(kFrames), height = interior_.size(kHeight), width = interior_.size(kWidth);
  // Columns first, then rows with their columns, then frames with both: the corners come out right.
  const at::Tensor rows = padded_.narrow(kFrames, front_, frames).narrow(kHeight, side_, height);
  for (std::int64_t i = 0; i < side_; ++i) {
    rows.select(kWidth, i).copy_(rows.select(kWidth, side_));
    rows.select(kWidth, side_ + width + i).copy_(rows.select(kWidth, side_ + width - 1));
  }
  const at::Tensor whole = padded_.narrow(kFrames, front_, frames);
  for (std::int64_t i = 0; i < side_; ++i) {
    whole.select(kHeight, i).copy_(whole.select(kHeight, side_));
    whole.select(kHeight, side_ + height + i).copy_(whole.select(kHeight, side_ + height - 1));
  }
  for (std::int64_t i = 0; i < front_; ++i) padded_.select(kFrames, i).copy_(padded_.select(kFrames, front_));
  return padded_;
}

CausalConv3d CausalConv3d::load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel,
                                std::array<std::int64_t, 3> stride) {
  base::check_invariant(kernel % 2 == 1, "causal convolution ", name, ": the kernel size must be odd, not ", kernel);
  return {in_video_format(weights.take(name + ".weight", {out, in, kernel, kernel, kernel})), weights.take(name + ".bias", {out}), stride};
}

at::Tensor CausalConv3d::operator()(const at::Tensor& x) const {
  const std::int64_t side = kernel() / 2, front = x.size(kFrames) == 1 ? 0 : kernel() - 1;
  return convolve(at::replication_pad3d(in_video_format(x), {side, side, side, side, front, 0}));
}

at::Tensor CausalConv3d::convolve(const at::Tensor& padded, std::int64_t max_elements) const {
  // The frames before the first are copies of it, so one frame meets the sum of the kernel's temporal taps.
  if (padded.size(kFrames) == 1) return convolve_unpadded(padded, weight.sum(kFrames, /*keepdim=*/true), bias, stride);

  const std::int64_t k = kernel(), frames = (padded.size(kFrames) - k) / stride[0] + 1;
  const std::int64_t height = (padded.size(kHeight) - k) / stride[1] + 1, width = (padded.size(kWidth) - k) / stride[2] + 1;
  const std::int64_t out_frame = padded.size(0) * weight.size(0) * height * width, in_frame = padded.numel() / padded.size(kFrames);
  if (padded.numel() <= max_elements && out_frame * frames <= max_elements) return convolve_unpadded(padded, weight, bias, stride);

  const std::int64_t most_out = max_elements / out_frame, most_in = (max_elements / in_frame - k) / stride[0] + 1;
  const std::int64_t piece = std::max<std::int64_t>(1, std::min(most_out, most_in));
  const auto convolve_piece = [&](std::int64_t first, std::int64_t count) {
    return convolve_unpadded(padded.narrow(kFrames, first * stride[0], (count - 1) * stride[0] + k), weight, bias, stride);
  };
  if (at::GradMode::is_enabled()) {
    std::vector<at::Tensor> pieces;
    for (std::int64_t first = 0; first < frames; first += piece) pieces.push_back(convolve_piece(first, std::min(piece, frames - first)));
    return at::cat(pieces, kFrames);
  }
  at::Tensor out = at::empty({padded.size(0), weight.size(0), frames, height, width}, padded.options().memory_format(video_memory_format(padded.device())));
  for (std::int64_t first = 0; first < frames; first += piece) {
    const std::int64_t count = std::min(piece, frames - first);
    out.narrow(kFrames, first, count).copy_(convolve_piece(first, count));
  }
  return out;
}

PointwiseConv3d PointwiseConv3d::load(const Weights& weights, const std::string& name, std::int64_t out, std::int64_t in) {
  return {weights.take(name + ".weight", {out, in, 1, 1, 1}), weights.take(name + ".bias", {out})};
}

at::Tensor PointwiseConv3d::operator()(const at::Tensor& x) const {
  if (video_memory_format(x.device()) != at::MemoryFormat::ChannelsLast3d) return at::conv3d(x, weight, bias);
  // Channels last, this is a matrix product without any reordering.
  return at::linear(in_video_format(x).permute({0, 2, 3, 4, 1}), weight.flatten(1), bias).permute({0, 4, 1, 2, 3});
}

}  // namespace magicid::models::nn
