// The parts of HunyuanVideo's causal 3-d autoencoder. Tensors are [B,C,T,H,W] (batch, channels, frames, height, width).
//
// Everything works with and without autograd. Where gradients are off (at::GradMode), activations are written straight into the padded
// input of the next convolution and residuals are added in place, so that at most three activations of one level are alive at a time.
// Reference: the HunyuanVideo*3D classes in diffusers' autoencoder_kl_hunyuan_video.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/hunyuan_video/autoencoder_config.h"
#include "models/nn/conv3d.h"
#include "models/nn/group_norm.h"
#include "models/nn/linear.h"
#include "models/nn/weights.h"

namespace magicid::models::hunyuan_video {

// Receives each parameter with its name in the weight file.
using ParameterVisitor = std::function<void(const std::string& name, const at::Tensor& parameter)>;

// Norm, SiLU, convolution: the order in which the network uses them everywhere but at its entrances.
struct NormActConv {
  nn::GroupNorm norm;
  nn::CausalConv3d conv;

  // Taken by value: a caller that gives `x` away frees its memory before the convolution runs.
  at::Tensor operator()(at::Tensor x) const;
};

struct ResnetBlock {
  NormActConv first, second;
  std::optional<nn::PointwiseConv3d> shortcut;  // where the number of channels changes

  static ResnetBlock load(const nn::Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t groups);
  void visit(const std::string& name, const ParameterVisitor& visitor) const;
  at::Tensor operator()(const at::Tensor& x) const;
};

// Attention with one head in which a position sees all positions of its own and of earlier frames. It runs frame by frame on the keys
// up to that frame, so the T*H*W squared mask of the reference is never built.
struct FrameCausalAttention {
  nn::GroupNorm norm;
  nn::Linear query, key, value, out;

  static FrameCausalAttention load(const nn::Weights& weights, const std::string& name, std::int64_t channels, std::int64_t groups);
  void visit(const std::string& name, const ParameterVisitor& visitor) const;
  at::Tensor operator()(const at::Tensor& x) const;
};

struct MidBlock {
  ResnetBlock first, second;
  std::optional<FrameCausalAttention> attention;

  static MidBlock load(const nn::Weights& weights, const std::string& name, std::int64_t channels, const AutoencoderConfig& config);
  void visit(const std::string& name, const ParameterVisitor& visitor) const;
  at::Tensor operator()(const at::Tensor& x) const;
};

// Nearest-neighbour upsampling by `factor` (T,H,W), then a causal convolution. The first frame is not repeated in time.
struct Upsample {
  nn::CausalConv3d conv;
  std::array<std::int64_t, 3> factor;

  at::Tensor operator()(const at::Tensor& x) const;
};

struct EncoderLevel {
  std::vector<ResnetBlock> resnets;
  std::optional<nn::CausalConv3d> downsample;
};

struct DecoderLevel {
  std::vector<ResnetBlock> resnets;
  std::optional<Upsample> upsample;
};

// sample [B,in_channels,T,H,W] -> [B,2*latent_channels,T',H',W'], before quant_conv.
struct Encoder {
  nn::CausalConv3d conv_in;
  std::vector<EncoderLevel> levels;
  MidBlock mid_block;
  NormActConv conv_out;

  static Encoder load(const nn::Weights& weights, const std::string& name, const AutoencoderConfig& config);
  void visit(const std::string& name, const ParameterVisitor& visitor) const;
  at::Tensor operator()(const at::Tensor& sample) const;
};

// latents after post_quant_conv [B,latent_channels,T',H',W'] -> [B,out_channels,T,H,W].
struct Decoder {
  nn::CausalConv3d conv_in;
  MidBlock mid_block;
  std::vector<DecoderLevel> levels;
  NormActConv conv_out;

  static Decoder load(const nn::Weights& weights, const std::string& name, const AutoencoderConfig& config);
  void visit(const std::string& name, const ParameterVisitor& visitor) const;
  // `recompute`: where there is a graph, each residual block, upsampling and the last convolution keeps its input alone until the backward, which computes it
  // again (models/generator/recompute.h). The same values and gradients to rounding.
  at::Tensor operator()(const at::Tensor& latents, bool recompute = false) const;
};

}  // namespace magicid::models::hunyuan_video
