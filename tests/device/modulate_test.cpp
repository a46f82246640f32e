// The CUDA kernel of layer_norm_modulate against the CPU's fp64 result, and the way a tensor takes.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/nn/modulate.h"
#include "models/nn/modulate_device.h"

namespace magicid::models::nn {
namespace {

double relative_error(const at::Tensor& got, const at::Tensor& expected) {
  return ((got.cpu().to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

TEST(DeviceModulate, EqualsTheCpu) {
  const std::int64_t shapes[][3] = {{1, 1, 8}, {2, 5, 33}, {3, 130, 512}, {1, 4000, 3072}, {2, 7, 12000}};
  for (const auto& [batch, tokens, channels] : shapes) {
    const auto x = at::sin(at::arange(batch * tokens * channels, at::kDouble) * 0.7).view({batch, tokens, channels}) + 3;
    const auto shift = at::sin(at::arange(batch * channels, at::kDouble) * 1.3).view({batch, channels});
    const auto scale = at::cos(at::arange(batch * channels, at::kDouble) * 2.1).view({batch, channels});
    const std::pair<at::ScalarType, double> dtypes[] = {{at::kFloat, 2e-6}, {at::kBFloat16, 4e-3}};
    for (const auto& [dtype, bound] : dtypes) {
      const auto rounded = [dtype = dtype](const at::Tensor& t) { return t.to(dtype); };
      const auto expected = layer_norm_modulate(rounded(x).to(at::kDouble), rounded(shift).to(at::kDouble), rounded(scale).to(at::kDouble), 1e-6);
      const auto on_device = rounded(x).to(at::kCUDA);
      ASSERT_TRUE(device_modulates(on_device));
      const auto got = layer_norm_modulate(on_device, rounded(shift).to(at::kCUDA), rounded(scale).to(at::kCUDA), 1e-6);
      EXPECT_EQ(got.scalar_type(), dtype);
      EXPECT_LT(relative_error(got, expected), bound) << batch << 'x' << tokens << 'x' << channels << ' ' << dtype;
    }
  }
}

TEST(DeviceModulate, LeavesToAtenWhatItDoesNotTake) {
  EXPECT_FALSE(device_modulates(at::zeros({1, 2, 16000}, at::kCUDA)));
  EXPECT_FALSE(device_modulates(at::zeros({1, 2, 16}, at::device(at::kCUDA).dtype(at::kDouble))));
  const auto x = at::ones({1, 2, 16}, at::device(at::kCUDA).requires_grad(true));
  const auto zero = at::zeros({1, 16}, at::kCUDA);
  EXPECT_TRUE(layer_norm_modulate(x, zero, zero, 1e-6).requires_grad());
}

}  // namespace
}  // namespace magicid::models::nn
