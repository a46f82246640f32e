#include "models/vision/mobilefacenet.h"

#include <ATen/TensorOperators.h>

#include "base/errors.h"

namespace magicid::models::vision {
namespace {

using Unit = MobileFaceNet::Unit;
using Block = MobileFaceNet::Block;
using UnitNames = MobileFaceNet::UnitNames;

Unit load_unit(const nn::Weights& weights, const UnitNames& names, const ConvShape& shape, const NormMode& norms) {
  Unit unit;
  unit.conv = load_convolution_and_norm(weights, names.conv, names.norm, shape, false, norms);
  if (!names.slope.empty()) unit.slope = weights.take(names.slope + ".weight", {shape.out});
  return unit;
}

ConvShape depthwise(std::int64_t channels, std::int64_t stride) {
  return {.out = channels, .in = channels, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}, .groups = channels};
}

ConvShape pointwise(std::int64_t out, std::int64_t in) { return {.out = out, .in = in}; }

// Channels on the way through a bottleneck, and the stride of its depthwise convolution.
struct BottleneckShape {
  std::int64_t in = 0, hidden = 0, out = 0, stride = 1;
};

// Expand, depthwise, project.
Block load_bottleneck(const nn::Weights& weights, const std::array<UnitNames, 3>& names, const BottleneckShape& shape, const NormMode& norms) {
  Block block;
  block.units.push_back(load_unit(weights, names[0], pointwise(shape.hidden, shape.in), norms));
  block.units.push_back(load_unit(weights, names[1], depthwise(shape.hidden, shape.stride), norms));
  block.units.push_back(load_unit(weights, names[2], pointwise(shape.out, shape.hidden), norms));
  block.residual = shape.stride == 1 && shape.in == shape.out;
  return block;
}

// "name.layers.0" to "name.layers.2": insightface's.
UnitNames numbered(const std::string& name, bool linear = false) { return {name + ".layers.0", name + ".layers.1", linear ? "" : name + ".layers.2"}; }

// What a file calls the last linear layer and the batch norm behind it.
struct HeadNames {
  std::string linear, norm;
};

void load_head(MobileFaceNet& network, const nn::Weights& weights, const HeadNames& names, std::int64_t embedding_size, std::int64_t in,
               const NormMode& norms) {
  if (norms.training) {
    network.head.weight = weights.take(names.linear + ".weight", {embedding_size, in});
    network.after_head = load_training_norm(weights, names.norm, embedding_size, norms);
    return;
  }
  const ChannelAffine affine = load_batch_norm(weights, names.norm, embedding_size);
  const auto dtype = weights.placement().dtype;
  network.head.weight = (weights.take_as(names.linear + ".weight", {embedding_size, in}, at::kDouble) * affine.scale.view({-1, 1})).to(dtype);
  network.head.bias = affine.shift.to(dtype);
}

constexpr ConvShape first_convolution(std::int64_t width) { return {.out = width, .in = 3, .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}; }

ConvShape global_depthwise(std::int64_t channels, std::int64_t kernel_width) {
  return {.out = channels, .in = channels, .kernel = {7, kernel_width}, .groups = channels};
}

MobileFaceNet load_treb1en(const nn::Weights& weights, std::int64_t embedding_size, const MobileFaceNetShape& shape, const NormMode& norms) {
  const auto& [first, second, third, last] = shape.channels;
  MobileFaceNet network;
  const auto unit = [&](const UnitNames& names, const ConvShape& conv) { network.blocks.push_back({{load_unit(weights, names, conv, norms)}, false}); };
  const auto bottleneck = [&](const std::string& name, std::int64_t in, std::int64_t hidden, std::int64_t out, std::int64_t stride) {
    network.blocks.push_back(
        load_bottleneck(weights, {UnitNames::spoken(name + ".conv"), UnitNames::spoken(name + ".conv_dw"), UnitNames::spoken(name + ".project", true)},
                        {in, hidden, out, stride}, norms));
  };
  const auto residuals = [&](const std::string& name, std::int64_t count, std::int64_t width, std::int64_t hidden) {
    for (std::int64_t i = 0; i < count; ++i) bottleneck(base::concat(name, ".model.", i), width, hidden, width, 1);
  };
  unit(UnitNames::spoken("conv1"), first_convolution(first));
  unit(UnitNames::spoken("conv2_dw"), depthwise(first, 1));
  bottleneck("conv_23", first, 2 * first, first, 2);
  residuals("conv_3", shape.blocks[0], first, 2 * first);
  bottleneck("conv_34", first, 4 * first, second, 2);
  residuals("conv_4", shape.blocks[1], second, 2 * second);
  bottleneck("conv_45", second, 4 * second, third, 2);
  residuals("conv_5", shape.blocks[2], third, 2 * third);
  unit(UnitNames::spoken("conv_6_sep"), pointwise(last, third));
  unit(UnitNames::spoken("conv_6_dw", true), global_depthwise(last, 7));
  load_head(network, weights, {"linear", "bn"}, embedding_size, last, norms);
  return network;
}

// insightface's own: `mbf` is twice as wide between the bottlenecks as the paper's network, `mbf_large` four times and deeper.
MobileFaceNet load_insightface(const nn::Weights& weights, std::int64_t embedding_size, const NormMode& norms) {
  const bool large = weights.contains("layers.1.layers.0.layers.0.layers.0.weight");
  const std::array<std::int64_t, 4> counts = large ? std::array<std::int64_t, 4>{2, 8, 12, 4} : std::array<std::int64_t, 4>{1, 4, 6, 2};
  const std::int64_t narrow = large ? 256 : 128, wide = 2 * narrow;
  MobileFaceNet network;
  const auto unit = [&](const UnitNames& names, const ConvShape& shape) { network.blocks.push_back({{load_unit(weights, names, shape, norms)}, false}); };
  const auto bottleneck = [&](const std::string& name, std::int64_t in, std::int64_t hidden, std::int64_t out, std::int64_t stride, bool residual) {
    network.blocks.push_back(load_bottleneck(weights, {numbered(name + ".layers.0"), numbered(name + ".layers.1"), numbered(name + ".layers.2", true)},
                                             {in, hidden, out, stride}, norms));
    network.blocks.back().residual = residual;
  };
  const auto residuals = [&](const std::string& name, std::int64_t count, std::int64_t width, std::int64_t hidden) {
    for (std::int64_t i = 0; i < count; ++i) bottleneck(base::concat(name, ".layers.", i), width, hidden, width, 1, true);
  };
  unit(numbered("layers.0"), first_convolution(narrow));
  if (large) {
    residuals("layers.1", counts[0], narrow, 128);
  } else {
    // 64 groups whatever the width: two channels a group.
    unit(numbered("layers.1"), {.out = narrow, .in = narrow, .kernel = {3, 3}, .padding = {1, 1}, .groups = 64});
  }
  bottleneck("layers.2", narrow, 128, narrow, 2, false);
  residuals("layers.3", counts[1], narrow, 128);
  bottleneck("layers.4", narrow, 256, wide, 2, false);
  residuals("layers.5", counts[2], wide, 256);
  bottleneck("layers.6", wide, 512, wide, 2, false);
  residuals("layers.7", counts[3], wide, 256);
  unit(numbered("conv_sep"), pointwise(512, wide));
  unit(numbered("features.layers.0", true), global_depthwise(512, 7));
  load_head(network, weights, {"features.layers.2", "features.layers.3"}, embedding_size, 512, norms);
  return network;
}

}  // namespace

MobileFaceNet MobileFaceNet::load_112x96(const nn::Weights& weights, std::int64_t embedding_size, const NormMode& norms) {
  struct Stage {
    std::int64_t expansion, out, count, stride;
  };
  MobileFaceNet network;
  network.narrow = true;
  const auto unit = [&](const UnitNames& names, const ConvShape& shape) { network.blocks.push_back({{load_unit(weights, names, shape, norms)}, false}); };
  unit(UnitNames::spoken("conv1"), first_convolution(64));
  unit(UnitNames::spoken("dw_conv1"), depthwise(64, 1));
  std::int64_t in = 64, index = 0;
  for (const Stage& stage : {Stage{2, 64, 5, 2}, Stage{4, 128, 1, 2}, Stage{2, 128, 6, 1}, Stage{4, 128, 1, 2}, Stage{2, 128, 2, 1}})
    for (std::int64_t i = 0; i < stage.count; ++i, ++index) {
      const auto part = [&](int n) { return base::concat("blocks.", index, ".conv.", n); };
      network.blocks.push_back(load_bottleneck(weights,
                                               {UnitNames{part(0), part(1), part(2)}, UnitNames{part(3), part(4), part(5)}, UnitNames{part(6), part(7), ""}},
                                               {in, in * stage.expansion, stage.out, i == 0 ? stage.stride : 1}, norms));
      in = stage.out;
    }
  unit(UnitNames::spoken("conv2"), pointwise(512, 128));
  unit(UnitNames::spoken("linear7", true), global_depthwise(512, 6));
  unit(UnitNames::spoken("linear1", true), pointwise(embedding_size, 512));
  return network;
}

MobileFaceNet MobileFaceNet::load_112x112(const nn::Weights& weights, std::int64_t embedding_size, const MobileFaceNetShape& shape, const NormMode& norms) {
  return weights.contains("layers.0.layers.0.weight") ? load_insightface(weights, embedding_size, norms) : load_treb1en(weights, embedding_size, shape, norms);
}

at::Tensor MobileFaceNet::operator()(const at::Tensor& faces) const {
  at::Tensor x = narrow ? faces.slice(3, 8, 104) : faces;
  for (const Block& block : blocks) {
    at::Tensor y = x;
    for (const Unit& unit : block.units) {
      y = unit.conv(y);
      if (unit.slope.defined()) y = apply_prelu(y, unit.slope);
    }
    x = block.residual ? x + y : y;
  }
  x = x.flatten(1);
  if (head.weight.defined()) x = head(x);
  return after_head.defined() ? after_head(x) : x;
}

}  // namespace magicid::models::vision
