#include "models/vision/iresnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/mv.h>

#include <map>

#include "base/errors.h"

namespace magicid::models::vision {

std::array<std::int64_t, 4> iresnet_blocks(const std::string& architecture) {
  static const std::map<std::string, std::array<std::int64_t, 4>> known = {
      {"iresnet18", {2, 2, 2, 2}}, {"iresnet34", {3, 4, 6, 3}}, {"iresnet50", {3, 4, 14, 3}}, {"iresnet100", {3, 13, 30, 3}}, {"iresnet200", {6, 26, 60, 6}}};
  const auto it = known.find(architecture);
  if (it == known.end()) throw base::UserError("'", architecture, "' is no IResNet; iresnet18, iresnet34, iresnet50, iresnet100 or iresnet200 was expected");
  return it->second;
}

namespace {

// A layer's first block halves the picture and projects its input to the new width; the others keep both.
struct ResidualShape {
  std::int64_t in = 0, out = 0;  // channels
  bool first = false;            // of its layer
};

IResNet::Block load_block(const nn::Weights& weights, const std::string& name, const ResidualShape& shape, const NormMode& norms) {
  const auto [in, out, first] = shape;
  const std::int64_t stride = first ? 2 : 1;
  const auto dtype = weights.placement().dtype;
  IResNet::Block block;
  if (norms.training) {
    block.training_norm = load_training_norm(weights, name + ".bn1", in, norms);
  } else {
    const ChannelAffine norm = load_batch_norm(weights, name + ".bn1", in);
    block.input_norm = {norm.scale.to(dtype).view({-1, 1, 1}), norm.shift.to(dtype).view({-1, 1, 1})};
  }
  block.conv1 = load_convolution_and_norm(weights, name + ".conv1", name + ".bn2", {.out = out, .in = in, .kernel = {3, 3}, .padding = {1, 1}}, false, norms);
  block.slope = weights.take(name + ".prelu.weight", {out});
  block.conv2 = load_convolution_and_norm(weights, name + ".conv2", name + ".bn3",
                                          {.out = out, .in = out, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}}, false, norms);
  if (first)
    block.downsample =
        load_convolution_and_norm(weights, name + ".downsample.0", name + ".downsample.1", {.out = out, .in = in, .stride = {stride, stride}}, false, norms);
  return block;
}

constexpr std::int64_t channels = 512, positions = 7 * 7;  // of what the head sees

// bn2, flatten, fc and features are all linear: one matrix.
nn::Linear load_head(const nn::Weights& weights, std::int64_t embedding_size) {
  const ChannelAffine before = load_batch_norm(weights, "bn2", channels);
  const ChannelAffine after = load_batch_norm(weights, "features", embedding_size);
  at::Tensor weight = weights.take_as("fc.weight", {embedding_size, channels * positions}, at::kDouble);
  at::Tensor bias = weights.take_as("fc.bias", {embedding_size}, at::kDouble);
  bias = (bias + at::mv(weight, before.shift.repeat_interleave(positions))) * after.scale + after.shift;
  weight = weight.mul_(before.scale.repeat_interleave(positions)).mul_(after.scale.view({-1, 1}));
  const auto dtype = weights.placement().dtype;
  nn::Linear head;
  head.weight = weight.to(dtype);
  head.bias = bias.to(dtype);
  return head;
}

}  // namespace

IResNet IResNet::load(const nn::Weights& weights, const std::string& architecture, std::int64_t embedding_size, const NormMode& norms) {
  IResNet network;
  network.stem = load_convolution_and_norm(weights, "conv1", "bn1", {.out = 64, .in = 3, .kernel = {3, 3}, .padding = {1, 1}}, false, norms);
  network.stem_slope = weights.take("prelu.weight", {64});
  const auto counts = iresnet_blocks(architecture);
  std::int64_t in = 64;
  for (std::size_t layer = 0; layer < counts.size(); ++layer) {
    const std::int64_t out = std::int64_t{64} << layer;
    for (std::int64_t i = 0; i < counts[layer]; ++i) {
      network.blocks.push_back(load_block(weights, base::concat("layer", layer + 1, ".", i), {.in = in, .out = out, .first = i == 0}, norms));
      in = out;
    }
  }
  if (norms.training) {
    network.before_head = load_training_norm(weights, "bn2", channels, norms);
    network.head.weight = weights.take("fc.weight", {embedding_size, channels * positions});
    network.head.bias = weights.take("fc.bias", {embedding_size});
    network.after_head = load_training_norm(weights, "features", embedding_size, norms);
  } else {
    network.head = load_head(weights, embedding_size);
  }
  return network;
}

at::Tensor IResNet::operator()(const at::Tensor& faces) const {
  at::Tensor x = apply_prelu(stem(faces), stem_slope);
  for (const Block& block : blocks) {
    const at::Tensor normed = block.training_norm.defined() ? block.training_norm(x) : at::addcmul(block.input_norm.shift, x, block.input_norm.scale);
    const at::Tensor y = block.conv2(apply_prelu(block.conv1(normed), block.slope));
    x = y + (block.downsample.weight.defined() ? block.downsample(x) : x);
  }
  if (before_head.defined()) x = before_head(x);
  x = head(x.flatten(1));
  return after_head.defined() ? after_head(x) : x;
}

}  // namespace magicid::models::vision
