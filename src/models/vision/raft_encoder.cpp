#include "models/vision/raft_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/instance_norm.h>

#include "base/errors.h"

namespace magicid::models::vision {

at::Tensor RaftEncoder::Unit::operator()(const at::Tensor& x) const {
  const at::Tensor y = conv(x);
  return instance_norm ? at::instance_norm(y, {}, {}, {}, {}, /*use_input_stats=*/true, /*momentum=*/0.1, /*eps=*/1e-5, /*cudnn_enabled=*/true) : y;
}

RaftEncoder RaftEncoder::load(const nn::Weights& weights, const std::string& name, const Options& options,
                              const std::function<std::string(const std::string&)>& rename) {
  const auto unit = [&](const std::string& module, const ConvShape& shape) {
    const std::string conv = rename(name + "." + module + ".0"), norm = rename(name + "." + module + ".1");
    Unit result;
    result.instance_norm = options.norm == Norm::instance;
    result.conv = options.norm == Norm::batch ? load_convolution_and_norm(weights, conv, norm, shape, true) : load_convolution(weights, conv, shape, true);
    return result;
  };
  RaftEncoder encoder;
  encoder.stem = unit("convnormrelu", {.out = options.widths[0], .in = 3, .kernel = {7, 7}, .stride = {2, 2}, .padding = {3, 3}});
  std::int64_t in = options.widths[0];
  for (int layer = 1; layer <= 3; ++layer)
    for (int i = 0; i < 2; ++i) {
      const std::int64_t out = options.widths[static_cast<std::size_t>(layer)], stride = layer > 1 && i == 0 ? 2 : 1;
      const std::string block_name = base::concat("layer", layer, ".", i);
      Block block;
      if (options.bottleneck) {
        const std::int64_t inner = out / 4;
        block.units.push_back(unit(block_name + ".convnormrelu1", {.out = inner, .in = in}));
        block.units.push_back(
            unit(block_name + ".convnormrelu2", {.out = inner, .in = inner, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}}));
        block.units.push_back(unit(block_name + ".convnormrelu3", {.out = out, .in = inner}));
      } else {
        block.units.push_back(unit(block_name + ".convnormrelu1", {.out = out, .in = in, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}}));
        block.units.push_back(unit(block_name + ".convnormrelu2", {.out = out, .in = out, .kernel = {3, 3}, .padding = {1, 1}}));
      }
      if (stride > 1) block.downsample = unit(block_name + ".downsample", {.out = out, .in = in, .stride = {stride, stride}});
      encoder.blocks.push_back(std::move(block));
      in = out;
    }
  encoder.out = load_convolution(weights, rename(name + ".conv"), {.out = options.widths[4], .in = in}, true);
  return encoder;
}

at::Tensor RaftEncoder::operator()(const at::Tensor& images) const {
  at::Tensor x = stem(images).relu_();
  for (const Block& block : blocks) {
    at::Tensor y = x;
    for (const Unit& unit : block.units) y = unit(y).relu_();
    // Not in place: the last unit's ReLU keeps its result for the backward pass.
    x = (y + (block.downsample.conv.weight.defined() ? block.downsample(x) : x)).relu_();
  }
  return out(x);
}

}  // namespace magicid::models::vision
