#include "models/vision/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/prelu.h>
#include <c10/core/GradMode.h>

namespace magicid::models::vision {
namespace {

Convolution take_convolution(const nn::Weights& weights, const std::string& name, const ConvShape& shape, bool with_bias, at::ScalarType dtype) {
  Convolution conv;
  conv.weight = weights.take_as(name + ".weight", {shape.out, shape.in / shape.groups, shape.kernel[0], shape.kernel[1]}, dtype);
  if (with_bias) conv.bias = weights.take_as(name + ".bias", {shape.out}, dtype);
  conv.stride = shape.stride;
  conv.padding = shape.padding;
  conv.groups = shape.groups;
  return conv;
}

}  // namespace

at::Tensor Convolution::operator()(const at::Tensor& x) const {
  const at::Tensor y = at::conv2d(x, weight, bias, stride, padding, /*dilation=*/1, groups);
  return norm.defined() ? norm(y) : y;
}

Convolution load_convolution(const nn::Weights& weights, const std::string& name, const ConvShape& shape, bool with_bias) {
  return take_convolution(weights, name, shape, with_bias, weights.placement().dtype);
}

ChannelAffine load_batch_norm(const nn::Weights& weights, const std::string& name, std::int64_t channels) {
  const auto take = [&](const char* part) { return weights.take_as(name + part, {channels}, at::kDouble); };
  weights.ignore(name + ".num_batches_tracked");
  const at::Tensor weight = take(".weight"), bias = take(".bias"), mean = take(".running_mean"), variance = take(".running_var");
  const at::Tensor scale = weight / (variance + 1e-5).sqrt();
  return {scale, bias - mean * scale};
}

Convolution load_convolution_and_norm(const nn::Weights& weights, const std::string& conv_name, const std::string& norm, const ConvShape& shape, bool with_bias,
                                      const NormMode& mode) {
  if (mode.training) {
    Convolution conv = load_convolution(weights, conv_name, shape, with_bias);
    conv.norm = load_training_norm(weights, norm, shape.out, mode);
    return conv;
  }
  Convolution conv = take_convolution(weights, conv_name, shape, with_bias, at::kDouble);
  const ChannelAffine affine = load_batch_norm(weights, norm, shape.out);
  const auto dtype = weights.placement().dtype;
  conv.weight = (conv.weight * affine.scale.view({-1, 1, 1, 1})).to(dtype);
  conv.bias = (conv.bias.defined() ? conv.bias * affine.scale + affine.shift : affine.shift).to(dtype);
  return conv;
}

at::Tensor apply_prelu(const at::Tensor& x, const at::Tensor& slope) {
  if (!c10::GradMode::is_enabled() || !slope.requires_grad()) return at::prelu(x, slope);
  return x.relu() - slope.view({-1, 1, 1}) * x.neg().relu();
}

}  // namespace magicid::models::vision
