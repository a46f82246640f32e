// The autoencoder's convolutions on a GPU, where video tensors have another memory format than on the CPU, against the CPU's result.
#include "models/nn/conv3d.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/formula_weights.h"

namespace magicid::models::nn {
namespace {

// fp64: in fp32 cuDNN may round to TF32, and what is compared here is where values come from.
TEST(DeviceConvolution, EqualsTheCpu) {
  const auto values = [](const char* name, const std::vector<std::int64_t>& shape) { return tests::formula_tensor(name, shape).to(at::kDouble); };
  for (const std::int64_t frames : {1, 5}) {
    for (const std::array<std::int64_t, 3>& stride : {std::array<std::int64_t, 3>{1, 1, 1}, std::array<std::int64_t, 3>{2, 2, 2}}) {
      const CausalConv3d conv{values("conv.weight", {4, 3, 3, 3, 3}), values("conv.bias", {4}), stride};
      const CausalConv3d on_device{conv.weight.to(at::kCUDA), conv.bias.to(at::kCUDA), stride};
      const at::Tensor x = values("x", {2, 3, frames, 6, 5});
      EXPECT_LT(tests::relative_error(on_device(x.to(at::kCUDA)).cpu(), conv(x)), 1e-12) << frames << " frames, stride " << stride[0];
    }
  }
}

}  // namespace
}  // namespace magicid::models::nn
