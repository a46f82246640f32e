// layer_norm_modulate against the definition written out in plain operations, in fp64.
#include "models/nn/modulate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "models/nn/modulate_device.h"

namespace magicid::models::nn {
namespace {

struct Case {
  std::int64_t batch, tokens, channels;
  double mean;
};

at::Tensor ramp(at::IntArrayRef shape, double step, double offset) {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return at::sin(at::arange(count, at::kDouble) * step + offset).view(shape);
}

at::Tensor definition(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  const auto mean = x.sum(2, true) / x.size(2);
  const auto variance = (x - mean).square().sum(2, true) / x.size(2);
  return (x - mean) / (variance + eps).sqrt() * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

class LayerNormModulate : public testing::TestWithParam<Case> {};

TEST_P(LayerNormModulate, EqualsItsDefinition) {
  const auto [batch, tokens, channels, mean] = GetParam();
  const auto x = ramp({batch, tokens, channels}, 0.7, 0.1) + mean;
  const auto shift = ramp({batch, channels}, 1.3, 0.5), scale = ramp({batch, channels}, 2.1, -0.4);
  const auto expected = definition(x, shift, scale, 1e-6);
  const auto got = layer_norm_modulate(x.to(at::kFloat), shift.to(at::kFloat), scale.to(at::kFloat), 1e-6);
  EXPECT_EQ(got.scalar_type(), at::kFloat);
  const double error = ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
  EXPECT_LT(error, 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Shapes, LayerNormModulate, testing::Values(Case{1, 1, 8, 0}, Case{2, 5, 16, 0}, Case{3, 7, 33, 1}, Case{2, 3, 512, -4}));

TEST(LayerNormModulate, PassesGradientsToAllThree) {
  const auto x = ramp({2, 3, 6}, 0.9, 0.2).requires_grad_(), shift = ramp({2, 6}, 0.4, 0).requires_grad_(), scale = ramp({2, 6}, 0.3, 1).requires_grad_();
  const auto weight = ramp({2, 3, 6}, 1.7, 0.3);
  (layer_norm_modulate(x, shift, scale, 1e-6) * weight).sum().backward();
  const auto x2 = x.detach().clone().requires_grad_(), shift2 = shift.detach().clone().requires_grad_(), scale2 = scale.detach().clone().requires_grad_();
  (definition(x2, shift2, scale2, 1e-6) * weight).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), x2.grad(), 1e-9, 1e-12));
  EXPECT_TRUE(at::allclose(shift.grad(), shift2.grad(), 1e-9, 1e-12));
  EXPECT_TRUE(at::allclose(scale.grad(), scale2.grad(), 1e-9, 1e-12));
  EXPECT_GT(x.grad().abs().max().item<double>(), 0);
}

TEST(LayerNormModulate, RefusesShapesThatDoNotFit) {
  const auto x = at::zeros({2, 3, 4});
  EXPECT_THROW(layer_norm_modulate(x, at::zeros({2, 5}), at::zeros({2, 5}), 1e-6), base::InvariantError);
  EXPECT_THROW(layer_norm_modulate(x, at::zeros({3, 4}), at::zeros({3, 4}), 1e-6), base::InvariantError);
  EXPECT_THROW(layer_norm_modulate(x, at::zeros({2, 4}), at::zeros({1, 4}), 1e-6), base::InvariantError);
  EXPECT_THROW(layer_norm_modulate(x, at::zeros({2, 4}, at::kBFloat16), at::zeros({2, 4}), 1e-6), base::InvariantError);
}

TEST(LayerNormModulate, CpuTensorsNeverGoToTheDevice) { EXPECT_FALSE(device_modulates(at::zeros({1, 2, 3}))); }

}  // namespace
}  // namespace magicid::models::nn
