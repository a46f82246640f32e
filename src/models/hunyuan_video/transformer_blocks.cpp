#include "models/hunyuan_video/transformer_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>

#include <optional>

namespace magicid::models::hunyuan_video {
namespace {

constexpr double kNormEps = 1e-6;

const nn::LoraLayer* find(const generator::Adapter* adapter, const std::string& name) { return adapter ? adapter->find(name) : nullptr; }

StreamLora stream_lora(const generator::Adapter* adapter, const std::string& block, const std::string& stream) {
  if (!adapter) return {};
  const std::string prefix = block + stream;
  return {find(adapter, prefix + "_mod.linear"), find(adapter, prefix + "_attn_qkv"), find(adapter, prefix + "_attn_proj"), find(adapter, prefix + "_mlp.fc1"),
          find(adapter, prefix + "_mlp.fc2")};
}

at::Tensor gelu_tanh(at::Tensor x) { return at::GradMode::is_enabled() ? at::gelu(x, "tanh") : at::gelu_(x, "tanh"); }

// [B,S,2D] -> [B,S,2,H,K], a view.
at::Tensor split_heads(const at::Tensor& qk, std::int64_t parts, const TransformerConfig& config) {
  return qk.view({qk.size(0), qk.size(1), parts, config.num_attention_heads, config.attention_head_dim});
}

struct Qkv {
  at::Tensor q, k, v;  // [B,S,H,K]
};

at::Tensor attend(const Qkv& qkv, const BlockContext& context, generator::AttentionTape* tape) {
  const at::Tensor out = context.attention.attend(qkv.q, qkv.k, qkv.v, context.whole, tape);
  return out.reshape({out.size(0), out.size(1), context.config.width()});
}

// One stream before attention.
struct StreamInput {
  const Stream& stream;
  const StreamLora& lora;
  at::Tensor x;  // [B,S,D], normalised and modulated
};

// The two streams' queries, keys and values as one sequence, normalised and rotated.
Qkv joint_qkv(const StreamInput& video, const StreamInput& text, const RotaryTable& rotary, const TransformerConfig& config) {
  const std::int64_t video_tokens = video.x.size(1), text_tokens = text.x.size(1), width = config.width();
  const at::Tensor video_qkv = video.stream.qkv(video.x, video.lora.qkv), text_qkv = text.stream.qkv(text.x, text.lora.qkv);
  if (!at::GradMode::is_enabled()) {
    const at::Tensor joint = split_heads(at::cat({video_qkv, text_qkv}, 1), 3, config);
    normalize_and_rotate(joint.narrow(1, 0, video_tokens).narrow(2, 0, 2), video.stream.qk_norm, rotary, video_tokens);
    normalize_and_rotate(joint.narrow(1, video_tokens, text_tokens).narrow(2, 0, 2), text.stream.qk_norm, rotary, 0);
    return {joint.select(2, 0), joint.select(2, 1), joint.select(2, 2)};
  }
  // split() and cat() have each other as derivatives: one pass each, where slices would fill and add buffers of full size.
  const auto video_parts = video_qkv.split_with_sizes({2 * width, width}, 2), text_parts = text_qkv.split_with_sizes({2 * width, width}, 2);
  const at::Tensor qk = at::cat({normalize_and_rotate(split_heads(video_parts[0], 2, config), video.stream.qk_norm, rotary, video_tokens),
                                 normalize_and_rotate(split_heads(text_parts[0], 2, config), text.stream.qk_norm, rotary, 0)},
                                1);
  const at::Tensor v = split_heads(at::cat({video_parts[1], text_parts[1]}, 1), 1, config).select(2, 0);
  const auto queries_keys = qk.unbind(2);
  return {queries_keys[0], queries_keys[1], v};
}

at::Tensor feed_forward(const Stream& stream, const StreamLora& lora, const at::Tensor& x) { return stream.fc2(gelu_tanh(stream.fc1(x, lora.fc1)), lora.fc2); }

// linear(cat(a, b)) without making the concatenation: a [B,S,Ka], b [B,S,Kb], weight [out, Ka+Kb].
at::Tensor linear_of_pair(const nn::Linear& linear, const at::Tensor& a, const at::Tensor& b, const nn::LoraLayer* lora) {
  const std::int64_t rows = a.size(0) * a.size(1), first = a.size(2), second = b.size(2);
  const at::Tensor a2 = a.reshape({rows, first}), b2 = b.reshape({rows, second});
  const auto product = [&](const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor wa = weight.narrow(1, 0, first).t(), wb = weight.narrow(1, first, second).t();
    at::Tensor y = bias.defined() ? at::addmm(bias, a2, wa) : a2.mm(wa);
    return y.addmm_(b2, wb);
  };
  at::Tensor y = product(linear.weight, linear.bias);
  if (lora && lora->a.defined()) {
    const auto type = a.scalar_type();
    y.addmm_(product(lora->a.to(type), {}), lora->b.to(type).t(), 1, lora->scale);
  }
  return y.view({a.size(0), a.size(1), y.size(1)});
}

}  // namespace

at::Tensor modulated_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
  const std::int64_t width = x.size(2);
  // One sample: the modulation is the norm's own affine part, and the whole is one pass over memory.
  if (x.size(0) == 1) return at::layer_norm(x, {width}, (scale + 1).select(0, 0), shift.select(0, 0), kNormEps);
  at::Tensor y = at::layer_norm(x, {width}, {}, {}, kNormEps);
  const at::Tensor gain = (scale + 1).unsqueeze(1), offset = shift.unsqueeze(1);
  return at::GradMode::is_enabled() ? at::addcmul(offset, y, gain) : y.mul_(gain).add_(offset);
}

at::Tensor gated_sum(at::Tensor residual, const at::Tensor& gate, const at::Tensor& branch) {
  const at::Tensor g = gate.unsqueeze(1);
  return at::GradMode::is_enabled() ? at::addcmul(residual, branch, g) : residual.addcmul_(branch, g);
}

std::pair<at::Tensor, at::Tensor> DoubleBlock::operator()(at::Tensor video_x, at::Tensor text_x, const at::Tensor& activated, const BlockContext& context,
                                                          generator::AttentionTape* tape) const {
  const StreamLora video_lora = stream_lora(context.adapter, name, "img"), text_lora = stream_lora(context.adapter, name, "txt");
  // Order of the six: shift, scale, gate of attention; shift, scale, gate of the MLP.
  const auto video_mod = video.mod(activated, video_lora.mod).chunk(6, 1), text_mod = text.mod(activated, text_lora.mod).chunk(6, 1);
  const std::int64_t video_tokens = video_x.size(1), text_tokens = text_x.size(1);
  {
    const Qkv qkv = joint_qkv({video, video_lora, modulated_norm(video_x, video_mod[0], video_mod[1])},
                              {text, text_lora, modulated_norm(text_x, text_mod[0], text_mod[1])}, context.rotary, context.config);
    const auto attended = attend(qkv, context, tape).split_with_sizes({video_tokens, text_tokens}, 1);
    video_x = gated_sum(video_x, video_mod[2], video.proj(attended[0], video_lora.proj));
    text_x = gated_sum(text_x, text_mod[2], text.proj(attended[1], text_lora.proj));
  }
  video_x = gated_sum(video_x, video_mod[5], feed_forward(video, video_lora, modulated_norm(video_x, video_mod[3], video_mod[4])));
  text_x = gated_sum(text_x, text_mod[5], feed_forward(text, text_lora, modulated_norm(text_x, text_mod[3], text_mod[4])));
  return {video_x, text_x};
}

at::Tensor SingleBlock::operator()(at::Tensor x, const at::Tensor& activated, const BlockContext& context, generator::AttentionTape* tape) const {
  const TransformerConfig& config = context.config;
  const std::int64_t width = config.width();
  const auto mod = modulation(activated, find(context.adapter, name + "modulation.linear")).chunk(3, 1);  // shift, scale, gate
  const auto parts =
      linear1(modulated_norm(x, mod[0], mod[1]), find(context.adapter, name + "linear1")).split_with_sizes({2 * width, width, config.mlp_width()}, 2);
  const auto queries_keys = normalize_and_rotate(split_heads(parts[0], 2, config), qk_norm, context.rotary, context.video_tokens).unbind(2);
  const at::Tensor attended = attend({queries_keys[0], queries_keys[1], split_heads(parts[1], 1, config).select(2, 0)}, context, tape);
  return gated_sum(x, mod[2], linear_of_pair(linear2, attended, gelu_tanh(parts[2]), find(context.adapter, name + "linear2")));
}

}  // namespace magicid::models::hunyuan_video
