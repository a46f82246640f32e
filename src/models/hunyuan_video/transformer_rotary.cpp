#include "models/hunyuan_video/transformer_rotary.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>
#include <vector>

namespace magicid::models::hunyuan_video {
namespace {

constexpr double kEps = 1e-6;

struct Constants {
  at::Tensor weight;  // [2,K] or undefined
  at::Tensor cos, sin;
  std::int64_t rotated_tokens = 0;
};

bool has_kernel(const at::Tensor& qk) {
  const auto type = qk.scalar_type();
  return qk.is_cpu() && qk.stride(4) == 1 && (type == at::kFloat || type == at::kDouble || type == at::kBFloat16);
}

at::ScalarType compute_type(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// Sums in eight lanes, so that the compiler may use vectors without reordering what the source says.
template <class Acc, class Term>
Acc lane_sum(std::int64_t count, Term term) {
  Acc lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int l = 0; l < 8; ++l) lanes[l] += term(i + l);
  for (; i < count; ++i) lanes[0] += term(i);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// One head's vector; cos is null for an unrotated token, weight for no normalisation.
template <class T, class Acc>
void forward_row(const T* x, T* out, const Acc* weight, const Acc* cos, const Acc* sin, std::int64_t k) {
  Acc scale = 1;
  if (weight) scale = Acc(1) / std::sqrt(lane_sum<Acc>(k, [&](std::int64_t i) { return Acc(x[i]) * Acc(x[i]); }) / Acc(k) + Acc(kEps));
  for (std::int64_t i = 0; i < k; i += 2) {
    Acc a = Acc(x[i]) * scale, b = Acc(x[i + 1]) * scale;
    if (weight) a *= weight[i], b *= weight[i + 1];
    const Acc c = cos ? cos[i / 2] : Acc(1), s = cos ? sin[i / 2] : Acc(0);
    out[i] = T(a * c - b * s);
    out[i + 1] = T(b * c + a * s);
  }
}

// The adjoint: rotate back, times weight, then the derivative of x / sqrt(mean(x^2) + eps). Adds to of_weight, the weight's gradient, where it is not null.
template <class T, class Acc>
void backward_row(const T* grad, const T* x, T* out, const Acc* weight, const Acc* cos, const Acc* sin, std::int64_t k, Acc* h, Acc* of_weight) {
  for (std::int64_t i = 0; i < k; i += 2) {
    const Acc c = cos ? cos[i / 2] : Acc(1), s = cos ? sin[i / 2] : Acc(0);
    const Acc g0 = Acc(grad[i]), g1 = Acc(grad[i + 1]);
    h[i] = g0 * c + g1 * s;
    h[i + 1] = g1 * c - g0 * s;
  }
  if (!weight) {
    for (std::int64_t i = 0; i < k; ++i) out[i] = T(h[i]);
    return;
  }
  const Acc scale = Acc(1) / std::sqrt(lane_sum<Acc>(k, [&](std::int64_t i) { return Acc(x[i]) * Acc(x[i]); }) / Acc(k) + Acc(kEps));
  for (std::int64_t i = 0; of_weight && i < k; ++i) of_weight[i] += h[i] * Acc(x[i]) * scale;
  for (std::int64_t i = 0; i < k; ++i) h[i] *= weight[i];
  const Acc dot = lane_sum<Acc>(k, [&](std::int64_t i) { return h[i] * Acc(x[i]); });
  const Acc pull = scale * scale * dot / Acc(k);
  for (std::int64_t i = 0; i < k; ++i) out[i] = T(scale * (h[i] - Acc(x[i]) * pull));
}

// Tokens of one task. The sums of a weight's gradient are made task by task, so that they do not depend on the number of threads.
constexpr std::int64_t kTaskTokens = 64;

std::int64_t tasks(const at::Tensor& qk) { return (qk.size(0) * qk.size(1) + kTaskTokens - 1) / kTaskTokens; }

// One run of the kernel over the tokens [begin, end) of tasks. Strides are those of sample, token, part and head.
template <class T, class Acc>
struct Run {
  const T *x, *grad;  // grad: null in a forward
  T* out;
  Acc* of_weight;  // [tasks,2,K] or null
  const Acc *weight, *cos, *sin;
  std::array<std::int64_t, 4> x_strides, grad_strides, out_strides;
  std::int64_t rotated_tokens, samples, tokens, heads, k;
};

template <class T, class Acc>
void run_tasks(const Run<T, Acc>& r, std::int64_t begin, std::int64_t end, Acc* scratch) {
  for (std::int64_t row = begin * kTaskTokens; row < std::min(end * kTaskTokens, r.samples * r.tokens); ++row) {
    Acc* const row_sums = r.of_weight ? r.of_weight + row / kTaskTokens * 2 * r.k : nullptr;
    const std::int64_t b = row / r.tokens, token = row % r.tokens;
    const bool rotated = token < r.rotated_tokens;
    const Acc* row_cos = rotated ? r.cos + token * (r.k / 2) : nullptr;
    const Acc* row_sin = rotated ? r.sin + token * (r.k / 2) : nullptr;
    for (std::int64_t part = 0; part < 2; ++part)
      for (std::int64_t h = 0; h < r.heads; ++h) {
        const auto at = [&](const std::array<std::int64_t, 4>& s) { return b * s[0] + token * s[1] + part * s[2] + h * s[3]; };
        const T* x = r.x + at(r.x_strides);
        T* y = r.out + at(r.out_strides);
        const Acc* row_weight = r.weight ? r.weight + part * r.k : nullptr;
        if (r.grad)
          backward_row<T, Acc>(r.grad + at(r.grad_strides), x, y, row_weight, row_cos, row_sin, r.k, scratch, row_sums ? row_sums + part * r.k : nullptr);
        else forward_row<T, Acc>(x, y, row_weight, row_cos, row_sin, r.k);
      }
  }
}

// `grad` undefined: forward, out may be qk itself. Otherwise out receives the gradient of qk, and of_weight [tasks,2,K], where it is defined, that of the
// weight in parts.
template <class T>
void run_kernel(const at::Tensor& qk, const at::Tensor& grad, const at::Tensor& out, const Constants& constants, const at::Tensor& of_weight) {
  using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const auto type = compute_type(qk);
  const auto prepared = [&](const at::Tensor& t, bool used) { return used ? t.to(type).contiguous() : at::Tensor(); };
  const bool rotates = constants.rotated_tokens > 0;
  const at::Tensor weight = prepared(constants.weight, constants.weight.defined()), cos = prepared(constants.cos, rotates),
                   sin = prepared(constants.sin, rotates);
  const auto numbers = [](const at::Tensor& t) { return t.defined() ? t.const_data_ptr<Acc>() : nullptr; };
  const auto strides = [](const at::Tensor& t) {
    return t.defined() ? std::array<std::int64_t, 4>{t.stride(0), t.stride(1), t.stride(2), t.stride(3)} : std::array<std::int64_t, 4>{};
  };
  const Run<T, Acc> run{.x = qk.const_data_ptr<T>(),
                        .grad = grad.defined() ? grad.const_data_ptr<T>() : nullptr,
                        .out = out.mutable_data_ptr<T>(),
                        .of_weight = of_weight.defined() ? of_weight.mutable_data_ptr<Acc>() : nullptr,
                        .weight = numbers(weight),
                        .cos = numbers(cos),
                        .sin = numbers(sin),
                        .x_strides = strides(qk),
                        .grad_strides = strides(grad),
                        .out_strides = strides(out),
                        .rotated_tokens = constants.rotated_tokens,
                        .samples = qk.size(0),
                        .tokens = qk.size(1),
                        .heads = qk.size(3),
                        .k = qk.size(4)};
  at::parallel_for(0, tasks(qk), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Acc> scratch(static_cast<std::size_t>(run.k));
    run_tasks(run, begin, end, scratch.data());
  });
}

void run_kernel(const at::Tensor& qk, const at::Tensor& grad, const at::Tensor& out, const Constants& constants, const at::Tensor& of_weight = {}) {
  switch (qk.scalar_type()) {
    case at::kFloat: return run_kernel<float>(qk, grad, out, constants, of_weight);
    case at::kDouble: return run_kernel<double>(qk, grad, out, constants, of_weight);
    default: return run_kernel<c10::BFloat16>(qk, grad, out, constants, of_weight);
  }
}

// The same with LibTorch's operations, for other devices and types. `sign` -1 turns back.
at::Tensor rotate(const at::Tensor& x, const Constants& constants, double sign) {
  const std::int64_t rotated = constants.rotated_tokens;
  if (rotated == 0) return x;
  const at::Tensor head = x.narrow(1, 0, rotated).contiguous();
  const at::Tensor angles = at::complex(constants.cos.to(x.scalar_type()), (constants.sin * sign).to(x.scalar_type()));
  const at::Tensor pairs = at::view_as_complex(head.view({head.size(0), rotated, 2, head.size(3), head.size(4) / 2, 2}));
  const at::Tensor turned = at::view_as_real(pairs * angles.view({1, rotated, 1, 1, head.size(4) / 2})).view(head.sizes());
  if (rotated == x.size(1)) return turned;
  return at::cat({turned, x.narrow(1, rotated, x.size(1) - rotated)}, 1);
}

at::Tensor head_weight(const Constants& constants, at::ScalarType type) {
  const auto& w = constants.weight;
  return w.to(type).view({1, 1, 2, 1, w.size(1)});
}

at::Tensor forward_operations(const at::Tensor& qk, const Constants& constants) {
  at::Tensor x = qk.to(compute_type(qk));
  if (constants.weight.defined()) x = x * at::rsqrt(x.square().mean(-1, true) + kEps) * head_weight(constants, x.scalar_type());
  return rotate(x, constants, 1).to(qk.scalar_type());
}

// d/d weight: what comes back through the rotation, times the normalised numbers, summed over all tokens and heads of each part.
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& qk, const Constants& constants) {
  const at::Tensor h = rotate(grad.to(compute_type(qk)), constants, -1), x = qk.to(h.scalar_type());
  return (h * x * at::rsqrt(x.square().mean(-1, true) + kEps)).sum({0, 1, 3}).to(constants.weight.scalar_type());
}

at::Tensor backward_operations(const at::Tensor& grad, const at::Tensor& qk, const Constants& constants) {
  at::Tensor h = rotate(grad.to(compute_type(qk)), constants, -1);
  if (constants.weight.defined()) {
    const at::Tensor x = qk.to(h.scalar_type());
    const at::Tensor scale = at::rsqrt(x.square().mean(-1, true) + kEps);
    h = h * head_weight(constants, h.scalar_type());
    h = scale * (h - x * (scale.square() * (h * x).mean(-1, true)));
  }
  return h.to(qk.scalar_type());
}

struct NormalizeAndRotate : torch::autograd::Function<NormalizeAndRotate> {
  // `weight` is constants.weight once more, as an argument that autograd sees; without one, anything that needs no gradient.
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& qk, const at::Tensor& weight, const Constants& constants) {
    ctx->save_for_backward({qk, constants.weight, constants.cos, constants.sin});
    ctx->saved_data["rotated_tokens"] = constants.rotated_tokens;
    if (!has_kernel(qk)) return forward_operations(qk, constants);
    const at::Tensor out = at::empty(qk.sizes(), qk.options());
    run_kernel(qk, {}, out, constants);
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const Constants constants{saved[1], saved[2], saved[3], ctx->saved_data["rotated_tokens"].toInt()};
    const at::Tensor &qk = saved[0], &grad = grads[0];
    // Only training the whole network asks for it; an adapter leaves the weights alone.
    const bool weight_too = ctx->needs_input_grad(1);
    if (!has_kernel(qk) || grad.stride(4) != 1)
      return {backward_operations(grad, qk, constants), weight_too ? weight_gradient(grad, qk, constants) : at::Tensor(), {}};
    const at::Tensor out = at::empty(qk.sizes(), qk.options());
    at::Tensor parts;
    if (weight_too) parts = at::zeros({tasks(qk), 2, qk.size(4)}, qk.options().dtype(compute_type(qk)));
    run_kernel(qk, grad, out, constants, parts);
    return {out, weight_too ? parts.sum(0).to(constants.weight.scalar_type()) : at::Tensor(), {}};
  }
};

}  // namespace

RotaryTable rotary_table(const TransformerConfig& config, const std::array<std::int64_t, 3>& grid, generator::TokenRange range, c10::Device device) {
  const at::Tensor token = at::arange(range.begin, range.begin + range.count, at::TensorOptions(at::kLong).device(device));
  const at::Tensor positions[3] = {token.div(grid[1] * grid[2], "floor"), token.div(grid[2], "floor").remainder(grid[1]), token.remainder(grid[2])};
  std::vector<at::Tensor> angles;
  for (int axis = 0; axis < 3; ++axis) {
    const std::int64_t dim = config.rope_axes_dim[static_cast<std::size_t>(axis)];
    const at::Tensor exponent = at::arange(0, dim, 2, at::TensorOptions(at::kFloat).device(device)) / static_cast<double>(dim);
    angles.push_back(at::outer(positions[axis].to(at::kFloat), at::pow(config.rope_theta, exponent).reciprocal()));
  }
  const at::Tensor all = at::cat(angles, 1);
  return {all.cos(), all.sin()};
}

at::Tensor normalize_and_rotate(at::Tensor qk, const at::Tensor& weight, const RotaryTable& rotary, std::int64_t rotated_tokens) {
  const Constants constants{weight, rotary.cos, rotary.sin, rotated_tokens};
  if (at::GradMode::is_enabled()) return NormalizeAndRotate::apply(qk, weight.defined() ? weight : at::empty({0}, qk.options()), constants);
  if (has_kernel(qk)) run_kernel(qk, {}, qk, constants);
  else qk.copy_(forward_operations(qk, constants));
  return qk;
}

}  // namespace magicid::models::hunyuan_video
