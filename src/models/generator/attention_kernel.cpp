#include "models/generator/attention_kernel.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/alias.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <torch/csrc/autograd/custom_function.h>

#include <tuple>

#include "base/errors.h"
#include "base/processor.h"

namespace magicid::models::generator {
namespace {

constexpr auto kFlash = static_cast<std::int64_t>(at::SDPBackend::flash_attention);
constexpr auto kCudnn = static_cast<std::int64_t>(at::SDPBackend::cudnn_attention);

// The low-level operations take and give [B,H,S,K]. On GPUs flash attention pads other head sizes inside of
// scaled_dot_product_attention: those are left to it.
bool can_keep(std::int64_t backend, const at::Tensor& q) {
  if (q.is_cpu()) return backend == kFlash;
  return q.is_cuda() && (backend == kCudnn || (backend == kFlash && q.size(3) % 8 == 0));
}

std::vector<at::Tensor> forward_kept(std::int64_t backend, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (q.is_cpu()) {
    const auto result = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v);
    return {std::get<0>(result), std::get<1>(result)};
  }
  if (backend == kCudnn) {
    const auto r = at::_scaled_dot_product_cudnn_attention(q, k, v, /*attn_bias=*/std::nullopt, /*compute_log_sumexp=*/true);
    return {std::get<0>(r), std::get<1>(r), std::get<2>(r), std::get<3>(r), std::get<6>(r), std::get<7>(r)};
  }
  const auto r = at::_scaled_dot_product_flash_attention(q, k, v);
  return {std::get<0>(r), std::get<1>(r), std::get<2>(r), std::get<3>(r), std::get<6>(r), std::get<7>(r)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward_kept(std::int64_t backend, const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                                             const at::Tensor& v, const std::vector<at::Tensor>& kept) {
  const at::Tensor &out = kept[0], &log_sum = kept[1];
  if (q.is_cpu()) return at::_scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, log_sum, 0.0, false);
  // kept: out, log-sum-exp, cumulative lengths of queries and keys (undefined for dense inputs), random state.
  const at::Tensor &cum_q = kept[2], &cum_k = kept[3], &seed = kept[4], &offset = kept[5];
  if (backend == kCudnn)
    return at::_scaled_dot_product_cudnn_attention_backward(grad, q, k, v, out, log_sum, seed, offset, /*attn_bias=*/{}, cum_q, cum_k, q.size(2), k.size(2),
                                                            0.0, false);
  return at::_scaled_dot_product_flash_attention_backward(grad, q, k, v, out, log_sum, cum_q, cum_k, q.size(2), k.size(2), 0.0, false, seed, offset);
}

struct Replay : torch::autograd::Function<Replay> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionTape* tape) {
    std::vector<at::Tensor> saved{q, k, v};
    saved.insert(saved.end(), tape->kept.begin(), tape->kept.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["backend"] = tape->backend;
    return at::alias(tape->kept[0]);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const std::vector<at::Tensor> kept(saved.begin() + 3, saved.end());
    const auto [q, k, v] = backward_kept(ctx->saved_data["backend"].toInt(), grads[0], saved[0], saved[1], saved[2], kept);
    return {q, k, v, {}};
  }
};

// Short sequences in bfloat16 on a CPU without matrix tiles: LibTorch's kernel sets up a product for every small block, and took three times as long, forward
// and backward, as the float kernel with its casts (165 tokens, heads of 32; from 1024 tokens on it is the faster one).
bool better_in_float(const at::Tensor& q) { return q.is_cpu() && q.scalar_type() == at::kBFloat16 && q.size(1) <= 512 && !base::has_bfloat16_tiles(); }

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, AttentionTape* tape) {
  if (query.numel() == 0) return query;
  if (better_in_float(query)) return attention(query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), tape).to(query.scalar_type());
  const at::Tensor q = query.transpose(1, 2), k = key.transpose(1, 2), v = value.transpose(1, 2);
  if (tape != nullptr && tape->mode == AttentionTape::Mode::capture) {
    base::check_invariant(!at::GradMode::is_enabled(), "attention is captured while grad mode is on");
    tape->backend = at::_fused_sdp_choice(q, k, v);
    if (can_keep(tape->backend, q)) {
      tape->kept = forward_kept(tape->backend, q, k, v);
      return tape->kept[0].transpose(1, 2);
    }
  } else if (tape != nullptr && !tape->kept.empty()) {
    return Replay::apply(q, k, v, static_cast<const AttentionTape*>(tape)).transpose(1, 2);
  }
  return at::scaled_dot_product_attention(q, k, v).transpose(1, 2);
}

}  // namespace magicid::models::generator
