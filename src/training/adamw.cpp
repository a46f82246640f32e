#include "training/adamw.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "base/errors.h"

namespace magicid::training {

AdamW::AdamW(const at::Tensor& parameters, const Options& options)
    : options_(options), first_moment_(at::zeros_like(parameters)), second_moment_(at::zeros_like(parameters)) {}

void AdamW::restore(const at::Tensor& first_moment, const at::Tensor& second_moment, std::int64_t steps) {
  base::check_invariant(first_moment.sizes() == first_moment_.sizes() && second_moment.sizes() == second_moment_.sizes(),
                        "optimizer state of another size: ", first_moment.numel(), " numbers, ", first_moment_.numel(), " parameters");
  first_moment_.copy_(first_moment);
  second_moment_.copy_(second_moment);
  steps_ = steps;
}

void AdamW::update(at::Tensor& parameters, at::Tensor& gradient, double learning_rate) {
  const c10::AutoGradMode no_grad(false);
  ++steps_;
  // The kernel divides the moments' biases out by this count; it lives on the parameters' device.
  at::Tensor count = at::full({}, static_cast<double>(steps_), parameters.options().dtype(at::kFloat).requires_grad(false));
  std::vector<at::Tensor> p{parameters.detach()}, g{gradient}, m{first_moment_}, v{second_moment_}, none, s{count};
  at::_fused_adamw_(p, g, m, v, none, s, learning_rate, options_.beta1, options_.beta2, options_.weight_decay, options_.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

double clip_by_global_norm(at::Tensor& gradient, double clip_norm) {
  const c10::AutoGradMode no_grad(false);
  const double norm = at::linalg_vector_norm(gradient, 2, {}, false, at::kDouble).item<double>();
  if (clip_norm > 0 && norm > clip_norm) gradient.mul_(clip_norm / norm);
  return norm;
}

}  // namespace magicid::training
