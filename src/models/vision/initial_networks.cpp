#include "models/vision/initial_networks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "base/errors.h"
#include "base/random.h"
#include "models/vision/iresnet.h"
#include "models/vision/mobilefacenet.h"
#include "models/vision/raft.h"

namespace magicid::models::vision {
namespace {

using base::concat;
using Shape = std::vector<std::int64_t>;

// Collects tensors; every one is a function of the seed and its own name, so that a change elsewhere leaves it as it is.
class Builder {
 public:
  explicit Builder(const nn::InitialValues& values) : values_(values) {}

  void normal(const std::string& name, const Shape& shape, double deviation) {
    if (!values_.wants(name)) return;
    at::Tensor tensor = tensors_[name] = at::empty(shape, options());
    if (!values_.seed) return;
    const base::CounterRandom random(*values_.seed, "initial-weights/" + name);
    random.normal(std::span<float>(tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())), 0);
    tensor.mul_(deviation);
  }
  // Keeps the variance of what passes through it, times gain^2.
  void matrix(const std::string& name, const Shape& shape, double gain) {
    std::int64_t fan_in = 1;
    for (std::size_t d = 1; d < shape.size(); ++d) fan_in *= shape[d];
    normal(name, shape, gain / std::sqrt(static_cast<double>(fan_in)));
  }
  void constant(const std::string& name, const Shape& shape, double value) {
    if (values_.wants(name)) tensors_[name] = at::full(shape, value, options());
  }
  void batch_norm(const std::string& name, std::int64_t channels, double weight = 1) {
    constant(name + ".weight", {channels}, weight);
    constant(name + ".bias", {channels}, 0);
    constant(name + ".running_mean", {channels}, 0);
    constant(name + ".running_var", {channels}, 1);
    const std::string batches = name + ".num_batches_tracked";
    if (values_.wants(batches)) tensors_[batches] = at::zeros({}, options().dtype(at::kLong));
  }
  void layer_norm(const std::string& name, std::int64_t channels) {
    constant(name + ".weight", {channels}, 1);
    constant(name + ".bias", {channels}, 0);
  }
  storage::NamedTensors take() { return std::move(tensors_); }

 private:
  at::TensorOptions options() const { return at::TensorOptions(at::kFloat).device(values_.seed ? c10::kCPU : c10::kMeta); }

  const nn::InitialValues& values_;
  storage::NamedTensors tensors_;
};

constexpr double prelu_slope = 0.25;
// Undoes what a PReLU of that slope takes from the variance.
const double prelu_gain = std::sqrt(2 / (1 + prelu_slope * prelu_slope));
const double relu_gain = std::sqrt(2.0);
// A residual branch adds this share of its input's deviation: a network of 49 blocks grows by 1.02^49, not by 2^49.
constexpr double branch_weight = 0.2;

void iresnet_tensors(Builder& to, const std::string& architecture, std::int64_t embedding_size) {
  const auto norm_and_slope = [&](const std::string& norm, const std::string& prelu, std::int64_t channels) {
    to.batch_norm(norm, channels);
    to.constant(prelu + ".weight", {channels}, prelu_slope);
  };
  to.matrix("conv1.weight", {64, 3, 3, 3}, 1);
  norm_and_slope("bn1", "prelu", 64);
  const auto counts = iresnet_blocks(architecture);
  std::int64_t in = 64;
  for (std::size_t layer = 0; layer < counts.size(); ++layer) {
    const std::int64_t out = std::int64_t{64} << layer;
    for (std::int64_t i = 0; i < counts[layer]; ++i, in = out) {
      const std::string name = concat("layer", layer + 1, ".", i, ".");
      to.batch_norm(name + "bn1", in);
      to.matrix(name + "conv1.weight", {out, in, 3, 3}, 1);
      norm_and_slope(name + "bn2", name + "prelu", out);
      to.matrix(name + "conv2.weight", {out, out, 3, 3}, prelu_gain);
      to.batch_norm(name + "bn3", out, branch_weight);
      if (i == 0) {
        to.matrix(name + "downsample.0.weight", {out, in, 1, 1}, 1);
        to.batch_norm(name + "downsample.1", out);
      }
    }
  }
  to.batch_norm("bn2", 512);
  to.matrix("fc.weight", {embedding_size, 512 * 49}, 1);
  to.constant("fc.bias", {embedding_size}, 0);
  to.batch_norm("features", embedding_size);
}

// A convolution, its norm and, unless it is linear, its PReLU.
void unit_tensors(Builder& to, const MobileFaceNet::UnitNames& names, const Shape& shape, double gain, double norm_weight = 1) {
  to.matrix(names.conv + ".weight", shape, gain);
  to.batch_norm(names.norm, shape[0], norm_weight);
  if (!names.slope.empty()) to.constant(names.slope + ".weight", {shape[0]}, prelu_slope);
}

void spoken_unit(Builder& to, const std::string& name, const Shape& shape, double gain, bool linear = false, double norm_weight = 1) {
  unit_tensors(to, MobileFaceNet::UnitNames::spoken(name, linear), shape, gain, norm_weight);
}

void mobilefacenet_112x96_tensors(Builder& to, std::int64_t embedding_size) {
  struct Stage {
    std::int64_t expansion, out, count;
  };
  spoken_unit(to, "conv1", {64, 3, 3, 3}, 1);
  spoken_unit(to, "dw_conv1", {64, 1, 3, 3}, prelu_gain);
  std::int64_t in = 64, index = 0;
  for (const Stage& stage : {Stage{2, 64, 5}, Stage{4, 128, 1}, Stage{2, 128, 6}, Stage{4, 128, 1}, Stage{2, 128, 2}})
    for (std::int64_t i = 0; i < stage.count; ++i, ++index, in = stage.out) {
      const auto part = [&](int n) { return concat("blocks.", index, ".conv.", n); };
      const std::int64_t hidden = in * stage.expansion;
      unit_tensors(to, {part(0), part(1), part(2)}, {hidden, in, 1, 1}, 1);
      unit_tensors(to, {part(3), part(4), part(5)}, {hidden, 1, 3, 3}, prelu_gain);
      unit_tensors(to, {part(6), part(7), ""}, {stage.out, hidden, 1, 1}, prelu_gain, i > 0 ? branch_weight : 1);
    }
  spoken_unit(to, "conv2", {512, 128, 1, 1}, 1);
  spoken_unit(to, "linear7", {512, 1, 7, 6}, prelu_gain, true);
  spoken_unit(to, "linear1", {embedding_size, 512, 1, 1}, 1, true);
}

void mobilefacenet_112x112_tensors(Builder& to, std::int64_t embedding_size, const MobileFaceNetShape& shape) {
  const auto& [first, second, third, last] = shape.channels;
  const auto bottleneck = [&](const std::string& name, std::int64_t in, std::int64_t hidden, std::int64_t out, bool residual) {
    spoken_unit(to, name + ".conv", {hidden, in, 1, 1}, 1);
    spoken_unit(to, name + ".conv_dw", {hidden, 1, 3, 3}, prelu_gain);
    spoken_unit(to, name + ".project", {out, hidden, 1, 1}, prelu_gain, true, residual ? branch_weight : 1);
  };
  const auto residuals = [&](const std::string& name, std::int64_t count, std::int64_t width, std::int64_t hidden) {
    for (std::int64_t i = 0; i < count; ++i) bottleneck(concat(name, ".model.", i), width, hidden, width, true);
  };
  spoken_unit(to, "conv1", {first, 3, 3, 3}, 1);
  spoken_unit(to, "conv2_dw", {first, 1, 3, 3}, prelu_gain);
  bottleneck("conv_23", first, 2 * first, first, false);
  residuals("conv_3", shape.blocks[0], first, 2 * first);
  bottleneck("conv_34", first, 4 * first, second, false);
  residuals("conv_4", shape.blocks[1], second, 2 * second);
  bottleneck("conv_45", second, 4 * second, third, false);
  residuals("conv_5", shape.blocks[2], third, 2 * third);
  spoken_unit(to, "conv_6_sep", {last, third, 1, 1}, 1);
  spoken_unit(to, "conv_6_dw", {last, 1, 7, 7}, prelu_gain, true);
  to.matrix("linear.weight", {embedding_size, last}, 1);
  to.batch_norm("bn", embedding_size);
}

void raft_convolution(Builder& to, const std::string& name, const Shape& shape, double gain) {
  to.matrix(name + ".weight", shape, gain);
  to.constant(name + ".bias", {shape[0]}, 0);
}

void raft_encoder_tensors(Builder& to, const std::string& name, const RaftEncoder::Options& options) {
  const auto unit = [&](const std::string& module, const Shape& shape) {
    raft_convolution(to, name + "." + module + ".0", shape, relu_gain);
    if (options.norm == RaftEncoder::Norm::batch) to.batch_norm(name + "." + module + ".1", shape[0]);
  };
  unit("convnormrelu", {options.widths[0], 3, 7, 7});
  std::int64_t in = options.widths[0];
  for (std::size_t layer = 1; layer <= 3; ++layer)
    for (int i = 0; i < 2; ++i) {
      const std::int64_t out = options.widths[layer];
      const std::string block = concat("layer", layer, ".", i);
      if (options.bottleneck) {
        unit(block + ".convnormrelu1", {out / 4, in, 1, 1});
        unit(block + ".convnormrelu2", {out / 4, out / 4, 3, 3});
        unit(block + ".convnormrelu3", {out, out / 4, 1, 1});
      } else {
        unit(block + ".convnormrelu1", {out, in, 3, 3});
        unit(block + ".convnormrelu2", {out, out, 3, 3});
      }
      if (layer > 1 && i == 0) unit(block + ".downsample", {out, in, 1, 1});
      in = out;
    }
  raft_convolution(to, name + ".conv", {options.widths[4], in, 1, 1}, 1);
}

void raft_tensors(Builder& to, const RaftSizes& sizes) {
  raft_encoder_tensors(to, "feature_encoder", sizes.features);
  raft_encoder_tensors(to, "context_encoder", sizes.context);
  const std::string motion = "update_block.motion_encoder.";
  const std::int64_t side = 2 * sizes.radius + 1;
  raft_convolution(to, motion + "convcorr1.0", {sizes.correlation[0], raft_pyramid_levels * side * side, 1, 1}, relu_gain);
  if (sizes.correlation.size() > 1) raft_convolution(to, motion + "convcorr2.0", {sizes.correlation[1], sizes.correlation[0], 3, 3}, relu_gain);
  raft_convolution(to, motion + "convflow1.0", {sizes.flow[0], 2, 7, 7}, relu_gain);
  raft_convolution(to, motion + "convflow2.0", {sizes.flow[1], sizes.flow[0], 3, 3}, relu_gain);
  raft_convolution(to, motion + "conv.0", {sizes.motion - 2, sizes.correlation.back() + sizes.flow[1], 3, 3}, relu_gain);
  for (std::size_t i = 0; i < sizes.gru_kernels.size(); ++i)
    for (const char* gate : {"z", "r", "q"})
      raft_convolution(to, concat("update_block.recurrent_block.convgru", i + 1, ".conv", gate),
                       {sizes.state, sizes.state + sizes.context_out + sizes.motion, sizes.gru_kernels[i][0], sizes.gru_kernels[i][1]}, 0.5);
  raft_convolution(to, "update_block.flow_head.conv1", {sizes.flow_head, sizes.state, 3, 3}, relu_gain);
  // Small, so that random updates do not carry the flow out of the picture.
  raft_convolution(to, "update_block.flow_head.conv2", {2, sizes.flow_head, 3, 3}, 0.1);
  if (sizes.mask) {
    raft_convolution(to, "mask_predictor.convrelu.0", {256, sizes.state, 3, 3}, relu_gain);
    raft_convolution(to, "mask_predictor.conv", {9 * 8 * 8, 256, 1, 1}, 1);
  }
}

}  // namespace

ClipVisionConfig tiny_clip_vision() {
  ClipVisionConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 256;
  config.layers = 4;
  config.heads = 4;
  config.image_size = 32;
  config.patch_size = 8;
  config.projection_dim = 32;
  return config;
}

InitialNetwork initial_clip_vision(const ClipVisionConfig& config, const nn::InitialValues& values) {
  const std::int64_t d = config.hidden_size, side = config.image_size / config.patch_size;
  Builder to(values);
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, double gain) {
    to.matrix(name + ".weight", {out, in}, gain);
    to.constant(name + ".bias", {out}, 0);
  };
  const std::string body = "vision_model.";
  to.normal(body + "embeddings.class_embedding", {d}, 0.5);
  to.matrix(body + "embeddings.patch_embedding.weight", {d, 3, config.patch_size, config.patch_size}, 1);
  to.normal(body + "embeddings.position_embedding.weight", {side * side + 1, d}, 0.1);
  to.layer_norm(body + "pre_layrnorm", d);
  to.layer_norm(body + "post_layernorm", d);
  // Branches together add about as much as the stream holds, whatever the depth.
  const double branch = 1 / std::sqrt(2.0 * static_cast<double>(config.layers));
  for (std::int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = concat(body, "encoder.layers.", i, ".");
    to.layer_norm(layer + "layer_norm1", d);
    to.layer_norm(layer + "layer_norm2", d);
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) linear(layer + name, d, d, 1);
    // Attention over random keys averages tokens: its output is that much smaller.
    linear(layer + "self_attn.out_proj", d, d, branch * 2);
    linear(layer + "mlp.fc1", config.intermediate_size, d, 1);
    linear(layer + "mlp.fc2", d, config.intermediate_size, branch * 2);
  }
  to.matrix("visual_projection.weight", {config.projection_dim, d}, 1);
  const double logit_scale = std::log(1 / 0.07);  // the temperature that CLIP's training starts from
  to.constant("logit_scale", {}, logit_scale);

  nlohmann::json json;
  json["architecture"] = "clip";
  json["architectures"] = {"CLIPModel"};
  json["model_type"] = "clip";
  json["projection_dim"] = config.projection_dim;
  json["logit_scale_init_value"] = logit_scale;
  json["vision_config"] = {{"model_type", "clip_vision_model"},
                           {"hidden_size", d},
                           {"intermediate_size", config.intermediate_size},
                           {"num_hidden_layers", config.layers},
                           {"num_attention_heads", config.heads},
                           {"num_channels", 3},
                           {"image_size", config.image_size},
                           {"patch_size", config.patch_size},
                           {"projection_dim", config.projection_dim},
                           {"layer_norm_eps", config.layer_norm_eps},
                           {"hidden_act", config.activation == ClipVisionConfig::Activation::gelu ? "gelu" : "quick_gelu"}};
  return {json.dump(2) + "\n", to.take()};
}

InitialNetwork initial_face_embedder(const FaceEmbedderConfig& config, const nn::InitialValues& values) {
  const std::int64_t embedding_size = config.embedding_size > 0 ? config.embedding_size : default_embedding_size(config.architecture);
  Builder to(values);
  if (config.architecture == "mobilefacenet_112x96") mobilefacenet_112x96_tensors(to, embedding_size);
  else if (config.architecture == "mobilefacenet_112x112") mobilefacenet_112x112_tensors(to, embedding_size, config.shape);
  else iresnet_tensors(to, config.architecture, embedding_size);
  return {config.to_json(), to.take()};
}

InitialNetwork initial_landmark_detector(const LandmarkDetectorConfig& config, const nn::InitialValues& values) {
  const auto& [half, quarter, eighth] = config.channels;
  Builder to(values);
  const auto convolution = [&](const std::string& name, const Shape& shape, double gain) {
    to.matrix(name + ".weight", shape, gain);
    to.constant(name + ".bias", {shape[0]}, 0);
  };
  const std::array<std::array<std::int64_t, 2>, 8> down{
      {{half, 3}, {half, half}, {quarter, half}, {quarter, quarter}, {eighth, quarter}, {eighth, eighth}, {eighth, eighth}, {eighth, eighth}}};
  for (std::size_t i = 0; i < down.size(); ++i) convolution(concat("down.", i), {down[i][0], down[i][1], 3, 3}, relu_gain);
  convolution("lateral4", {quarter, eighth, 1, 1}, 1);
  convolution("merge4", {quarter, quarter, 3, 3}, 1);
  convolution("lateral2", {half, quarter, 1, 1}, 1);
  convolution("merge2", {half, half, 3, 3}, 1);
  // Heatmaps begin flat: every point in the middle.
  convolution("heat", {LandmarkDetector::points, half, 1, 1}, 0.1);
  convolution("score", {1, 2 * eighth, 1, 1}, 0.1);
  return {config.to_json(), to.take()};
}

InitialNetwork initial_raft(const std::string& architecture, const nn::InitialValues& values) {
  Builder to(values);
  raft_tensors(to, raft_sizes(architecture));
  const nlohmann::json json = {{"architecture", architecture}};
  return {json.dump(2) + "\n", to.take()};
}

}  // namespace magicid::models::vision
