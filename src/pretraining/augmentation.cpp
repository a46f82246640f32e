#include "pretraining/augmentation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/replication_pad2d.h>
#include <ATen/ops/tensor.h>

#include <span>

#include "base/random.h"

namespace magicid::pretraining {

at::Tensor jitter_colours(const at::Tensor& x, miniature::Dice& dice) {
  const double brightness = dice.uniform(0.8, 1.2), contrast = dice.uniform(0.8, 1.2);
  const double red = dice.uniform(0.9, 1.1), green = dice.uniform(0.9, 1.1), blue = dice.uniform(0.9, 1.1);
  const at::Tensor balance = at::tensor({brightness * red, brightness * green, brightness * blue}, x.options()).view({1, 3, 1, 1});
  const at::Tensor balanced = x * balance, middle = balanced.mean();
  return ((balanced - middle) * contrast + middle).clamp(0, 1);
}

at::Tensor degrade(const at::Tensor& x, miniature::Dice& dice) {
  const double share = dice.uniform(-1, 1), noise = 0.04 * dice.uniform(-1, 1);
  const std::uint64_t seed = dice.bits();
  at::Tensor y = x;
  if (share > 0) y = y.lerp(at::avg_pool2d(at::replication_pad2d(y, {1, 1, 1, 1}), {3, 3}, {1, 1}), share);
  if (noise > 0) {
    at::Tensor grain = at::empty_like(y);
    base::CounterRandom(seed, "grain").normal(std::span<float>(grain.data_ptr<float>(), static_cast<std::size_t>(grain.numel())), 0);
    y = (y + grain * noise).clamp(0, 1);
  }
  return y;
}

}  // namespace magicid::pretraining
