#include "evaluation/frechet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::evaluation {
namespace {

struct Gaussian {
  at::Tensor mean;    // [D]
  at::Tensor factor;  // [min(N,D),D], factor^T factor is the covariance
  double trace = 0;   // of the covariance
};

Gaussian gaussian_of(const at::Tensor& set) {
  const at::Tensor rows = set.detach().to(at::kCPU, at::kDouble);
  Gaussian g;
  g.mean = rows.mean(0);
  g.factor = (rows - g.mean) / std::sqrt(static_cast<double>(rows.size(0) - 1));
  g.trace = g.factor.square().sum().item<double>();
  // R of a QR decomposition has the same product with its transpose and no more rows than features.
  if (g.factor.size(0) > g.factor.size(1)) g.factor = std::get<1>(at::linalg_qr(g.factor, "r"));
  return g;
}

}  // namespace

double frechet_distance(const at::Tensor& a, const at::Tensor& b) {
  base::check_invariant(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(1) && a.size(1) >= 1, "frechet_distance needs sets [N,D] and [M,D]");
  base::check_invariant(a.size(0) >= 2 && b.size(0) >= 2, "frechet_distance needs two rows in each set, got ", a.size(0), " and ", b.size(0));
  if (!at::isfinite(a).all().item<bool>() || !at::isfinite(b).all().item<bool>()) return std::numeric_limits<double>::quiet_NaN();
  const Gaussian first = gaussian_of(a), second = gaussian_of(b);
  const double between = (first.mean - second.mean).square().sum().item<double>();
  const double shared = at::linalg_svdvals(at::matmul(first.factor, second.factor.t())).sum().item<double>();
  return std::max(0.0, between + first.trace + second.trace - 2 * shared);
}

}  // namespace magicid::evaluation
