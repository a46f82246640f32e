#include "models/hunyuan_video/autoencoder_blocks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest3d.h>

#include <algorithm>
#include <utility>

#include "models/generator/recompute.h"
#include "models/hunyuan_video/autoencoder_tiling.h"

namespace magicid::models::hunyuan_video {
namespace {

constexpr std::array<std::int64_t, 3> kNoStride = {1, 1, 1};

// Query rows for which scores against `keys` keys are computed at once: bounds the score matrix where no fused kernel takes a head this wide.
std::int64_t query_rows(std::int64_t keys) { return std::max<std::int64_t>(1, (std::int64_t{1} << 28) / keys); }

nn::VideoExtents size_of(const at::Tensor& x) { return {x.size(kFrames), x.size(kHeight), x.size(kWidth)}; }

NormActConv load_norm_act_conv(const nn::Weights& weights, const std::string& norm, const std::string& conv, std::int64_t out, std::int64_t in,
                               std::int64_t groups) {
  return {nn::GroupNorm::load(weights, norm, in, groups), nn::CausalConv3d::load(weights, conv, out, in, 3)};
}

template <class Layer>
void visit_layer(const std::string& name, const Layer& layer, const ParameterVisitor& visitor) {
  visitor(name + ".weight", layer.weight);
  visitor(name + ".bias", layer.bias);
}

std::string numbered(const std::string& name, const char* part, std::size_t index) { return name + "." + part + "." + std::to_string(index); }

template <class Block>
std::vector<at::Tensor> parameters_of(const Block& block) {
  std::vector<at::Tensor> parameters;
  block.visit("", [&](const std::string&, const at::Tensor& parameter) { parameters.push_back(parameter); });
  return parameters;
}
std::vector<at::Tensor> parameters_of(const Upsample& block) { return {block.conv.weight, block.conv.bias}; }
std::vector<at::Tensor> parameters_of(const NormActConv& block) { return {block.norm.weight, block.norm.bias, block.conv.weight, block.conv.bias}; }

// block(x), which with `recompute` keeps nothing but x. The function holds its own copy of the block's tensors: a graph may outlive the network.
template <class Block>
at::Tensor run(const Block& block, const at::Tensor& x, bool recompute) {
  if (!recompute) return block(x);
  const auto again = [block](std::vector<at::Tensor> inputs, generator::AttentionTape*) { return std::vector<at::Tensor>{block(inputs[0])}; };
  return generator::run_block(generator::Recompute::full, again, {x}, parameters_of(block))[0];
}

// One frame at factor (1,H,W), or frames that are all repeated alike, written to `target`: `source` seen with its repetitions as dimensions of stride 0.
void write_repeated(const at::Tensor& target, const at::Tensor& source, const std::array<std::int64_t, 3>& factor) {
  const std::int64_t b = source.size(0), c = source.size(1), t = source.size(kFrames), h = source.size(kHeight), w = source.size(kWidth);
  const auto [ft, fh, fw] = factor;
  at::Tensor blocks = target.unflatten(kWidth, {w, fw}).unflatten(kHeight, {h, fh}).unflatten(kFrames, {t, ft});
  blocks.copy_(source.unsqueeze(3).unsqueeze(5).unsqueeze(7).expand({b, c, t, ft, h, fh, w, fw}));
}

}  // namespace

at::Tensor NormActConv::operator()(at::Tensor x) const {
  if (at::GradMode::is_enabled()) return conv(at::silu(norm(x)));
  at::Tensor normalised = norm(x);
  x.reset();
  nn::CausalInput input(normalised.options(), normalised.size(0), normalised.size(1), size_of(normalised), conv.kernel());
  at::Tensor interior = input.interior();
  at::silu_out(interior, normalised);
  normalised.reset();
  return conv.convolve(input.with_border());
}

ResnetBlock ResnetBlock::load(const nn::Weights& weights, const std::string& name, std::int64_t out, std::int64_t in, std::int64_t groups) {
  ResnetBlock block{load_norm_act_conv(weights, name + ".norm1", name + ".conv1.conv", out, in, groups),
                    load_norm_act_conv(weights, name + ".norm2", name + ".conv2.conv", out, out, groups), std::nullopt};
  if (in != out) block.shortcut = nn::PointwiseConv3d::load(weights, name + ".conv_shortcut.conv", out, in);
  return block;
}

void ResnetBlock::visit(const std::string& name, const ParameterVisitor& visitor) const {
  visit_layer(name + ".norm1", first.norm, visitor);
  visit_layer(name + ".conv1.conv", first.conv, visitor);
  visit_layer(name + ".norm2", second.norm, visitor);
  visit_layer(name + ".conv2.conv", second.conv, visitor);
  if (shortcut) visit_layer(name + ".conv_shortcut.conv", *shortcut, visitor);
}

at::Tensor ResnetBlock::operator()(const at::Tensor& x) const {
  // The convolution's result is ours and autograd needs neither operand of a sum: adding in place is right with gradients too.
  return second(first(x)).add_(shortcut ? (*shortcut)(x) : x);
}

FrameCausalAttention FrameCausalAttention::load(const nn::Weights& weights, const std::string& name, std::int64_t channels, std::int64_t groups) {
  const auto linear = [&](const char* part) { return nn::Linear::load(weights, name + "." + part, channels, channels); };
  return {nn::GroupNorm::load(weights, name + ".group_norm", channels, groups), linear("to_q"), linear("to_k"), linear("to_v"), linear("to_out.0")};
}

void FrameCausalAttention::visit(const std::string& name, const ParameterVisitor& visitor) const {
  visit_layer(name + ".group_norm", norm, visitor);
  visit_layer(name + ".to_q", query, visitor);
  visit_layer(name + ".to_k", key, visitor);
  visit_layer(name + ".to_v", value, visitor);
  visit_layer(name + ".to_out.0", out, visitor);
}

at::Tensor FrameCausalAttention::operator()(const at::Tensor& x) const {
  const std::int64_t frames = x.size(kFrames), per_frame = x.size(kHeight) * x.size(kWidth);
  const at::Tensor video = norm(x).permute({0, 2, 3, 4, 1});  // [B,T,H,W,C]
  const at::Tensor tokens = video.reshape({x.size(0), 1, frames * per_frame, x.size(1)});
  const at::Tensor q = query(tokens), k = key(tokens), v = value(tokens);
  std::vector<at::Tensor> attended;
  for (std::int64_t frame = 0; frame < frames; ++frame) {
    const std::int64_t keys = (frame + 1) * per_frame, end = keys;
    const at::Tensor seen_k = k.narrow(2, 0, keys), seen_v = v.narrow(2, 0, keys);
    for (std::int64_t row = frame * per_frame; row < end; row += query_rows(keys))
      attended.push_back(at::scaled_dot_product_attention(q.narrow(2, row, std::min(query_rows(keys), end - row)), seen_k, seen_v));
  }
  const at::Tensor joined = attended.size() == 1 ? attended[0] : at::cat(attended, 2);
  return out(joined).view(video.sizes()).permute({0, 4, 1, 2, 3}).add(x);
}

MidBlock MidBlock::load(const nn::Weights& weights, const std::string& name, std::int64_t channels, const AutoencoderConfig& config) {
  MidBlock block{ResnetBlock::load(weights, name + ".resnets.0", channels, channels, config.norm_num_groups),
                 ResnetBlock::load(weights, name + ".resnets.1", channels, channels, config.norm_num_groups), std::nullopt};
  if (config.mid_block_add_attention) block.attention = FrameCausalAttention::load(weights, name + ".attentions.0", channels, config.norm_num_groups);
  return block;
}

void MidBlock::visit(const std::string& name, const ParameterVisitor& visitor) const {
  first.visit(name + ".resnets.0", visitor);
  second.visit(name + ".resnets.1", visitor);
  if (attention) attention->visit(name + ".attentions.0", visitor);
}

at::Tensor MidBlock::operator()(const at::Tensor& x) const {
  at::Tensor hidden = first(x);
  if (attention) hidden = (*attention)(hidden);
  return second(hidden);
}

at::Tensor Upsample::operator()(const at::Tensor& x) const {
  const auto [ft, fh, fw] = factor;
  const std::int64_t later = x.size(kFrames) - 1;
  const nn::VideoExtents size = {1 + later * ft, x.size(kHeight) * fh, x.size(kWidth) * fw};
  const at::Tensor first_frame = x.narrow(kFrames, 0, 1), later_frames = x.narrow(kFrames, 1, later);
  if (at::GradMode::is_enabled()) {
    at::Tensor frames = at::upsample_nearest3d(first_frame, {1, size.height, size.width});
    if (later > 0) frames = at::cat({frames, at::upsample_nearest3d(later_frames, {later * ft, size.height, size.width})}, kFrames);
    return conv(frames);
  }
  nn::CausalInput input(x.options(), x.size(0), x.size(1), size, conv.kernel());
  write_repeated(input.interior().narrow(kFrames, 0, 1), first_frame, {1, fh, fw});
  if (later > 0) write_repeated(input.interior().narrow(kFrames, 1, later * ft), later_frames, factor);
  return conv.convolve(input.with_border());
}

Encoder Encoder::load(const nn::Weights& weights, const std::string& name, const AutoencoderConfig& config) {
  Encoder encoder;
  const std::int64_t last = config.block_out_channels.back();
  std::int64_t channels = config.block_out_channels.front();
  encoder.conv_in = nn::CausalConv3d::load(weights, name + ".conv_in.conv", channels, config.in_channels, 3);
  for (std::int64_t l = 0; l < config.levels(); ++l) {
    const std::string level_name = numbered(name, "down_blocks", static_cast<std::size_t>(l));
    EncoderLevel level;
    for (std::int64_t layer = 0; layer < config.layers_per_block; ++layer) {
      const std::int64_t out = config.block_out_channels[static_cast<std::size_t>(l)];
      level.resnets.push_back(
          ResnetBlock::load(weights, numbered(level_name, "resnets", static_cast<std::size_t>(layer)), out, channels, config.norm_num_groups));
      channels = out;
    }
    if (config.stride(l) != kNoStride)
      level.downsample = nn::CausalConv3d::load(weights, level_name + ".downsamplers.0.conv.conv", channels, channels, 3, config.stride(l));
    encoder.levels.push_back(std::move(level));
  }
  encoder.mid_block = MidBlock::load(weights, name + ".mid_block", last, config);
  encoder.conv_out = load_norm_act_conv(weights, name + ".conv_norm_out", name + ".conv_out.conv", 2 * config.latent_channels, last, config.norm_num_groups);
  return encoder;
}

void Encoder::visit(const std::string& name, const ParameterVisitor& visitor) const {
  visit_layer(name + ".conv_in.conv", conv_in, visitor);
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const std::string level_name = numbered(name, "down_blocks", l);
    for (std::size_t r = 0; r < levels[l].resnets.size(); ++r) levels[l].resnets[r].visit(numbered(level_name, "resnets", r), visitor);
    if (levels[l].downsample) visit_layer(level_name + ".downsamplers.0.conv.conv", *levels[l].downsample, visitor);
  }
  mid_block.visit(name + ".mid_block", visitor);
  visit_layer(name + ".conv_norm_out", conv_out.norm, visitor);
  visit_layer(name + ".conv_out.conv", conv_out.conv, visitor);
}

at::Tensor Encoder::operator()(const at::Tensor& sample) const {
  at::Tensor hidden = conv_in(sample);
  for (const EncoderLevel& level : levels) {
    for (const ResnetBlock& resnet : level.resnets) hidden = resnet(hidden);
    if (level.downsample) hidden = (*level.downsample)(hidden);
  }
  return conv_out(mid_block(hidden));
}

Decoder Decoder::load(const nn::Weights& weights, const std::string& name, const AutoencoderConfig& config) {
  Decoder decoder;
  std::int64_t channels = config.block_out_channels.back();
  decoder.conv_in = nn::CausalConv3d::load(weights, name + ".conv_in.conv", channels, config.latent_channels, 3);
  decoder.mid_block = MidBlock::load(weights, name + ".mid_block", channels, config);
  for (std::int64_t l = 0; l < config.levels(); ++l) {
    const std::string level_name = numbered(name, "up_blocks", static_cast<std::size_t>(l));
    DecoderLevel level;
    for (std::int64_t layer = 0; layer < config.layers_per_block + 1; ++layer) {
      const std::int64_t out = config.block_out_channels[static_cast<std::size_t>(config.levels() - 1 - l)];
      level.resnets.push_back(
          ResnetBlock::load(weights, numbered(level_name, "resnets", static_cast<std::size_t>(layer)), out, channels, config.norm_num_groups));
      channels = out;
    }
    if (config.stride(l) != kNoStride)
      level.upsample = Upsample{nn::CausalConv3d::load(weights, level_name + ".upsamplers.0.conv.conv", channels, channels, 3), config.stride(l)};
    decoder.levels.push_back(std::move(level));
  }
  decoder.conv_out = load_norm_act_conv(weights, name + ".conv_norm_out", name + ".conv_out.conv", config.out_channels, channels, config.norm_num_groups);
  return decoder;
}

void Decoder::visit(const std::string& name, const ParameterVisitor& visitor) const {
  visit_layer(name + ".conv_in.conv", conv_in, visitor);
  mid_block.visit(name + ".mid_block", visitor);
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const std::string level_name = numbered(name, "up_blocks", l);
    for (std::size_t r = 0; r < levels[l].resnets.size(); ++r) levels[l].resnets[r].visit(numbered(level_name, "resnets", r), visitor);
    if (levels[l].upsample) visit_layer(level_name + ".upsamplers.0.conv.conv", levels[l].upsample->conv, visitor);
  }
  visit_layer(name + ".conv_norm_out", conv_out.norm, visitor);
  visit_layer(name + ".conv_out.conv", conv_out.conv, visitor);
}

at::Tensor Decoder::operator()(const at::Tensor& latents, bool recompute) const {
  recompute = recompute && at::GradMode::is_enabled();
  at::Tensor hidden = run(mid_block, conv_in(latents), recompute);
  for (const DecoderLevel& level : levels) {
    for (const ResnetBlock& resnet : level.resnets) hidden = run(resnet, hidden, recompute);
    if (level.upsample) hidden = run(*level.upsample, hidden, recompute);
  }
  // Without gradients, giving the activations away frees them before the convolution.
  return recompute ? run(conv_out, hidden, true) : conv_out(std::move(hidden));
}

}  // namespace magicid::models::hunyuan_video
