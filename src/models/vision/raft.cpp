#include "models/vision/raft.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/grid_sampler.h>
#include <ATen/ops/im2col.h>
#include <ATen/ops/meshgrid.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "models/vision/raft_keys.h"

namespace magicid::models::vision {
namespace {

constexpr std::int64_t scale = 8;  // of the encoders

Raft::Gru load_gru(const nn::Weights& weights, const std::function<std::string(const std::string&)>& rename, const std::string& name, const RaftSizes& sizes,
                   std::array<std::int64_t, 2> kernel) {
  const std::int64_t state = sizes.state, motion_from = sizes.state + sizes.context_out, in = motion_from + sizes.motion;
  const auto read = [&](const char* gate) {
    return load_convolution(weights, rename(name + ".conv" + gate), {.out = state, .in = in, .kernel = kernel, .padding = {kernel[0] / 2, kernel[1] / 2}},
                            true);
  };
  const auto changing = [&](Convolution conv) {
    conv.weight = at::cat({conv.weight.slice(1, 0, state), conv.weight.slice(1, motion_from)}, 1);
    conv.bias.reset();
    return conv;
  };
  const auto constant = [&](Convolution conv) {
    conv.weight = conv.weight.slice(1, state, motion_from).contiguous();
    return conv;
  };
  Convolution gates = read("z");
  const Convolution reset = read("r"), candidate = read("q");
  gates.weight = at::cat({gates.weight, reset.weight});
  gates.bias = at::cat({gates.bias, reset.bias});
  return {changing(gates), changing(candidate), constant(gates), constant(candidate)};
}

// Whole coordinates of every position: [1,2,h,w], x first.
at::Tensor coordinates(std::int64_t h, std::int64_t w, const at::TensorOptions& options) {
  const auto grid = at::meshgrid({at::arange(h, options), at::arange(w, options)}, "ij");
  return at::stack({grid[1], grid[0]}).unsqueeze(0);
}

// All pairs of positions, and their means over 2x2, 4x4 and 8x8 positions of image 2: [N*h*w,1,h/2^l,w/2^l].
std::vector<at::Tensor> correlation_pyramid(const at::Tensor& features1, const at::Tensor& features2) {
  const std::int64_t n = features1.size(0), channels = features1.size(1), h = features1.size(2), w = features1.size(3);
  const at::Tensor scaled = features1.flatten(2).transpose(1, 2) / std::sqrt(static_cast<double>(channels));
  std::vector<at::Tensor> levels{at::bmm(scaled, features2.flatten(2)).view({n * h * w, 1, h, w})};
  while (levels.size() < raft_pyramid_levels) levels.push_back(at::avg_pool2d(levels.back(), 2, 2));
  return levels;
}

// Offsets of the lookup window as [1, side, side, 2] of (x, y). The slow axis is the x offset: the weights were trained so.
at::Tensor window(std::int64_t radius, const at::TensorOptions& options) {
  const at::Tensor line = at::arange(-radius, radius + 1, options);
  const auto grid = at::meshgrid({line, line}, "ij");
  return at::stack({grid[0], grid[1]}, -1).unsqueeze(0);
}

// Correlations around `coords` [N,2,h,w] at every level: [N, levels * side^2, h, w].
at::Tensor look_up(const std::vector<at::Tensor>& pyramid, const at::Tensor& coords, const at::Tensor& offsets) {
  const std::int64_t n = coords.size(0), h = coords.size(2), w = coords.size(3);
  const at::Tensor centres = coords.permute({0, 2, 3, 1}).reshape({n * h * w, 1, 1, 2});
  std::vector<at::Tensor> parts;
  double reduction = 1;
  for (const at::Tensor& level : pyramid) {
    // grid_sampler wants -1..1 from the first to the last position.
    const at::Tensor to_unit = at::tensor({2.0 / static_cast<double>(level.size(3) - 1), 2.0 / static_cast<double>(level.size(2) - 1)}, coords.options());
    const at::Tensor grid = ((centres / reduction + offsets) * to_unit).sub_(1);
    parts.push_back(at::grid_sampler(level, grid, /*bilinear*/ 0, /*zeros*/ 0, /*align_corners=*/true).view({n, h, w, -1}));
    reduction *= 2;
  }
  return at::cat(parts, -1).permute({0, 3, 1, 2}).contiguous();
}

// A weighted mean of the 3x3 neighbourhood for each of the 8x8 fine positions. flow [N,2,h,w], mask [N,576,h,w] -> [N,2,8h,8w].
at::Tensor upsample_by_mask(const at::Tensor& flow, const at::Tensor& mask) {
  const std::int64_t n = flow.size(0), h = flow.size(2), w = flow.size(3);
  const at::Tensor weights = at::softmax(mask.view({n, 1, 9, scale, scale, h, w}), 2);
  const at::Tensor neighbours = at::im2col(flow * scale, {3, 3}, /*dilation=*/{1, 1}, /*padding=*/{1, 1}, /*stride=*/{1, 1}).view({n, 2, 9, 1, 1, h, w});
  return (weights * neighbours).sum(2).permute({0, 1, 4, 2, 5, 3}).reshape({n, 2, h * scale, w * scale});
}

}  // namespace

RaftSizes raft_sizes(const std::string& architecture) {
  using Norm = RaftEncoder::Norm;
  if (architecture == "raft_small")
    return {{{32, 32, 64, 96, 128}, Norm::instance, true}, {{32, 32, 64, 96, 160}, Norm::none, true}, 3, 96, 64, {96}, {64, 32}, 82, {{3, 3}}, 128, false};
  if (architecture == "raft_large")
    return {{{64, 64, 96, 128, 256}, Norm::instance, false},
            {{64, 64, 96, 128, 256}, Norm::batch, false},
            4,
            128,
            128,
            {256, 192},
            {128, 64},
            128,
            {{1, 5}, {5, 1}},
            256,
            true};
  throw base::UserError("'", architecture, "' is no RAFT; raft_large or raft_small was expected");
}

const std::vector<std::string>& raft_architectures() {
  static const std::vector<std::string> names = {"raft_large", "raft_small"};
  return names;
}

Raft Raft::load(const std::filesystem::path& folder, c10::Device device) {
  const std::string architecture = nn::NetworkConfig::open(folder / "config.json").choice("architecture", raft_architectures());
  return from_weights(nn::Weights::open_folder(folder, {device, at::kFloat}), architecture);
}

Raft Raft::from_weights(const nn::Weights& all, const std::string& architecture) {
  const RaftSizes sizes = raft_sizes(architecture);
  const bool under_module = all.contains("module.fnet.conv1.weight") || all.contains("module.feature_encoder.conv.weight");
  const nn::Weights weights = under_module ? all.sub("module.") : all;
  const bool princeton = weights.contains("fnet.conv1.weight");
  const auto rename = [&](const std::string& module) {
    if (!princeton) return module;
    std::string name = princeton_raft_name(module + ".", sizes.gru_kernels.size() == 2);
    name.pop_back();
    return name;
  };
  const auto conv = [&](const std::string& name, std::int64_t out, std::int64_t in, std::int64_t kernel) {
    return load_convolution(weights, rename(name), {.out = out, .in = in, .kernel = {kernel, kernel}, .padding = {kernel / 2, kernel / 2}}, true);
  };
  Raft network;
  network.device = weights.placement().device;
  network.state_size = sizes.state;
  network.radius = sizes.radius;
  network.feature_encoder = RaftEncoder::load(weights, "feature_encoder", sizes.features, rename);
  network.context_encoder = RaftEncoder::load(weights, "context_encoder", sizes.context, rename);
  const std::string motion = "update_block.motion_encoder.";
  const std::int64_t side = 2 * sizes.radius + 1;
  network.correlation_layers.push_back(conv(motion + "convcorr1.0", sizes.correlation[0], raft_pyramid_levels * side * side, 1));
  if (sizes.correlation.size() > 1) network.correlation_layers.push_back(conv(motion + "convcorr2.0", sizes.correlation[1], sizes.correlation[0], 3));
  network.flow_layers.push_back(conv(motion + "convflow1.0", sizes.flow[0], 2, 7));
  network.flow_layers.push_back(conv(motion + "convflow2.0", sizes.flow[1], sizes.flow[0], 3));
  network.motion_out = conv(motion + "conv.0", sizes.motion - 2, sizes.correlation.back() + sizes.flow[1], 3);
  for (std::size_t i = 0; i < sizes.gru_kernels.size(); ++i)
    network.grus.push_back(load_gru(weights, rename, base::concat("update_block.recurrent_block.convgru", i + 1), sizes, sizes.gru_kernels[i]));
  network.flow_head1 = conv("update_block.flow_head.conv1", sizes.flow_head, sizes.state, 3);
  network.flow_head2 = conv("update_block.flow_head.conv2", 2, sizes.flow_head, 3);
  if (sizes.mask) {
    network.mask1 = conv("mask_predictor.convrelu.0", 256, sizes.state, 3);
    network.mask2 = conv("mask_predictor.conv", 9 * scale * scale, 256, 1);
  }
  if (princeton && sizes.context.norm == RaftEncoder::Norm::batch)
    for (const char* block : {"cnet.layer2.0.", "cnet.layer3.0."}) weights.ignore(base::concat(block, "norm3."));  // the same tensors as downsample.1
  weights.finish();
  return network;
}

at::Tensor Raft::flow(const at::Tensor& image1, const at::Tensor& image2, int updates) const {
  const at::NoGradGuard no_gradient;
  return run(image1, image2, updates, /*all=*/false).back();
}

std::vector<at::Tensor> Raft::flows(const at::Tensor& image1, const at::Tensor& image2, int updates) const {
  return run(image1, image2, updates, /*all=*/true);
}

std::vector<at::Tensor> Raft::run(const at::Tensor& image1, const at::Tensor& image2, int updates, bool all) const {
  base::check_invariant(image1.dim() == 4 && image1.size(1) == 3 && image1.sizes() == image2.sizes() && image1.size(2) % scale == 0 &&
                            image1.size(3) % scale == 0 && image1.size(2) >= raft_minimum_size && image1.size(3) >= raft_minimum_size,
                        "images have the shapes ", image1.sizes(), " and ", image2.sizes(),
                        "; the same [N,3,H,W] was expected, with H and W multiples of 8 and at least ", raft_minimum_size);
  base::check_invariant(updates >= 1, "updates is ", updates, "; at least 1 was expected");
  const std::int64_t n = image1.size(0), h = image1.size(2) / scale, w = image1.size(3) / scale;
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  if (n == 0) return std::vector<at::Tensor>(static_cast<std::size_t>(all ? updates : 1), at::zeros({0, 2, h * scale, w * scale}, options));
  const at::Tensor first = image1.to(options), second = image2.to(options);

  const auto features = feature_encoder(at::cat({first, second})).chunk(2);
  const auto pyramid = correlation_pyramid(features[0], features[1]);
  const auto context_parts = context_encoder(first).split_with_sizes({state_size, context_encoder.out.weight.size(0) - state_size}, 1);
  at::Tensor state = context_parts[0].tanh();
  const at::Tensor context = at::relu(context_parts[1]);
  std::vector<std::array<at::Tensor, 2>> context_terms;  // for each unit: gates, candidate
  for (const Gru& gru : grus) context_terms.push_back({gru.gates_context(context), gru.candidate_context(context)});

  const at::Tensor origin = coordinates(h, w, options), offsets = window(radius, options);
  at::Tensor coarse = at::zeros({n, 2, h, w}, options);
  std::vector<at::Tensor> upsampled;
  for (int update = 0; update < updates; ++update) {
    coarse = coarse.detach();
    at::Tensor correlation = look_up(pyramid, origin + coarse, offsets), flow_features = coarse;
    for (const Convolution& layer : correlation_layers) correlation = layer(correlation).relu_();
    for (const Convolution& layer : flow_layers) flow_features = layer(flow_features).relu_();
    const at::Tensor motion = at::cat({motion_out(at::cat({correlation, flow_features}, 1)).relu_(), coarse}, 1);
    for (std::size_t i = 0; i < grus.size(); ++i) {
      const auto gates = grus[i].gates(at::cat({state, motion}, 1)).add_(context_terms[i][0]).sigmoid_().chunk(2, 1);  // update, reset
      const at::Tensor candidate = grus[i].candidate(at::cat({gates[1] * state, motion}, 1)).add_(context_terms[i][1]).tanh_();
      state = state.lerp(candidate, gates[0]);
    }
    coarse = coarse + flow_head2(flow_head1(state).relu_());
    if (!all && update + 1 < updates) continue;
    constexpr double mask_gain = 0.25;  // a factor of the original training code that the weights were trained with
    upsampled.push_back(mask1.weight.defined() ? upsample_by_mask(coarse, mask2(mask1(state).relu_()).mul_(mask_gain))
                                               : at::upsample_bilinear2d(coarse, {h * scale, w * scale}, /*align_corners=*/true).mul_(scale));
  }
  return upsampled;
}

}  // namespace magicid::models::vision
