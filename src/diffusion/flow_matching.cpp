#include "diffusion/flow_matching.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "base/random.h"

namespace magicid::diffusion {
namespace {

void check_pair(const at::Tensor& x0, const at::Tensor& noise) {
  base::check_invariant(x0.sizes() == noise.sizes(), "flow matching: x0 ", x0.sizes(), " and noise ", noise.sizes(), " differ in shape");
}

}  // namespace

double shift_sigma(double u, double shift) { return shift * u / (1 + (shift - 1) * u); }

at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& sigma) {
  check_pair(x0, noise);
  base::check_invariant(sigma.dim() == 1 && sigma.size(0) == x0.size(0), "flow matching: one sigma for each of ", x0.size(0), " examples, found ",
                        sigma.sizes());
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x0.dim()), 1);
  shape[0] = x0.size(0);
  const at::Tensor share = sigma.to(x0.device(), at::kFloat).view(shape);
  return noise.to(at::kFloat).mul(share).add(x0.to(at::kFloat).mul(share.neg().add(1)));
}

at::Tensor add_noise(const at::Tensor& x0, const at::Tensor& noise, double sigma) {
  check_pair(x0, noise);
  const float share = static_cast<float>(sigma);
  return noise.to(at::kFloat).mul(share).add(x0.to(at::kFloat).mul(1.0f - share));
}

at::Tensor velocity_target(const at::Tensor& x0, const at::Tensor& noise) {
  check_pair(x0, noise);
  return noise.to(at::kFloat).sub(x0.to(at::kFloat));
}

double sample_sigma(std::uint64_t seed, std::uint64_t step, std::int64_t index, std::int64_t global_batch, double shift) {
  base::check_invariant(index >= 0 && index < global_batch, "sample_sigma: index ", index, " of a global batch of ", global_batch);
  const std::int64_t stratum = base::CounterRandom(seed, "sigma-stratum").permutation(global_batch, step)[static_cast<std::size_t>(index)];
  const double inside = base::CounterRandom(seed, "sigma").uniform(step, static_cast<std::uint64_t>(index));
  const double u = (static_cast<double>(stratum) + inside) / static_cast<double>(global_batch);
  // Rounding may reach 1, which would be pure noise.
  return shift_sigma(std::min(u, std::nextafter(1.0, 0.0)), shift);
}

}  // namespace magicid::diffusion
