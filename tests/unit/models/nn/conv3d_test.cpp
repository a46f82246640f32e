#include "models/nn/conv3d.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "models/nn/group_norm.h"
#include "support/formula_weights.h"

namespace magicid::models::nn {
namespace {

// The definition, element by element: input coordinates beyond an edge take the edge's value, times before the first take the first.
at::Tensor convolve_slowly(const CausalConv3d& conv, const at::Tensor& x) {
  const std::int64_t k = conv.kernel(), side = k / 2;
  const auto size = [&](std::int64_t extent, std::int64_t stride) { return (extent - 1) / stride + 1; };
  at::Tensor out =
      at::zeros({x.size(0), conv.weight.size(0), size(x.size(2), conv.stride[0]), size(x.size(3), conv.stride[1]), size(x.size(4), conv.stride[2])});
  const auto clamp = [](std::int64_t i, std::int64_t extent) { return std::min(std::max<std::int64_t>(i, 0), extent - 1); };
  for (std::int64_t t = 0; t < out.size(2); ++t)
    for (std::int64_t h = 0; h < out.size(3); ++h)
      for (std::int64_t w = 0; w < out.size(4); ++w) {
        at::Tensor sum = conv.bias.expand({x.size(0), conv.bias.size(0)});
        for (std::int64_t a = 0; a < k; ++a)
          for (std::int64_t b = 0; b < k; ++b)
            for (std::int64_t c = 0; c < k; ++c) {
              const at::Tensor seen = x.select(2, clamp(t * conv.stride[0] + a - (k - 1), x.size(2)))
                                          .select(2, clamp(h * conv.stride[1] + b - side, x.size(3)))
                                          .select(2, clamp(w * conv.stride[2] + c - side, x.size(4)));
              sum = sum + seen.matmul(conv.weight.select(4, c).select(3, b).select(2, a).t());
            }
        out.select(2, t).select(2, h).select(2, w).copy_(sum);
      }
  return out;
}

CausalConv3d formula_conv(std::int64_t out, std::int64_t in, std::int64_t kernel, std::array<std::int64_t, 3> stride) {
  const std::vector<std::int64_t> shape = {out, in, kernel, kernel, kernel};
  const Weights weights = Weights::from_tensors(
      {{"conv.weight", tests::formula_tensor("conv.weight", shape)}, {"conv.bias", tests::formula_tensor("conv.bias", {out})}}, "formula", {});
  const CausalConv3d conv = CausalConv3d::load(weights, "conv", out, in, kernel, stride);
  weights.finish();
  return conv;
}

class CausalConvolution : public testing::TestWithParam<std::tuple<int, std::array<std::int64_t, 3>>> {};

TEST_P(CausalConvolution, IsItsDefinition) {
  const auto [frames, stride] = GetParam();
  for (const std::int64_t kernel : {1, 3, 5}) {
    const CausalConv3d conv = formula_conv(4, 3, kernel, stride);
    const at::Tensor x = tests::formula_tensor("x", {2, 3, frames, 4, 5});
    const at::Tensor expected = convolve_slowly(conv, x);
    EXPECT_LT(tests::relative_error(conv(x), expected), 1e-5) << "kernel " << kernel;

    CausalInput input(x.options(), 2, 3, {frames, 4, 5}, kernel);
    at::Tensor interior = input.interior();
    interior.copy_(x);
    const at::Tensor padded = input.with_border();
    EXPECT_LT(tests::relative_error(conv.convolve(padded), expected), 1e-5) << "kernel " << kernel;
    // In pieces of a few frames, as for tensors beyond 32-bit indexing; with and without gradients.
    for (const bool gradients : {false, true}) {
      const at::AutoGradMode mode(gradients);
      for (const std::int64_t most : {std::int64_t{1}, padded.numel() / 2, padded.numel() - 1})
        EXPECT_LT(tests::relative_error(conv.convolve(padded, most), expected), 1e-5) << "kernel " << kernel << ", at most " << most;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(FramesAndStrides, CausalConvolution,
                         testing::Combine(testing::Values(1, 2, 5, 8),
                                          testing::Values(std::array<std::int64_t, 3>{1, 1, 1}, std::array<std::int64_t, 3>{2, 2, 2},
                                                          std::array<std::int64_t, 3>{1, 2, 2}, std::array<std::int64_t, 3>{2, 1, 1})));

TEST(CausalConvolution, SeesNoLaterFrame) {
  const CausalConv3d conv = formula_conv(2, 2, 3, {1, 1, 1});
  const at::Tensor x = tests::formula_tensor("x", {1, 2, 6, 4, 4});
  at::Tensor changed = x.clone();
  changed.narrow(2, 4, 2).fill_(100);
  EXPECT_LT(tests::relative_error(conv(changed).narrow(2, 0, 4), conv(x).narrow(2, 0, 4)), 1e-6);
  EXPECT_GT(tests::relative_error(conv(changed).narrow(2, 4, 2), conv(x).narrow(2, 4, 2)), 1);
}

TEST(PointwiseConvolution, MixesChannelsOnly) {
  const std::vector<std::int64_t> shape = {5, 3, 1, 1, 1};
  const PointwiseConv3d conv{tests::formula_tensor("p.weight", shape), tests::formula_tensor("p.bias", {5})};
  const at::Tensor x = tests::formula_tensor("x", {2, 3, 2, 3, 4});
  EXPECT_LT(tests::relative_error(conv(x), at::conv3d(x, conv.weight, conv.bias)), 1e-6);
  EXPECT_LT(tests::relative_error(conv(x.transpose(3, 4)), at::conv3d(x.transpose(3, 4).contiguous(), conv.weight, conv.bias)), 1e-6);
}

TEST(GroupNorm, NormalisesEachGroupInAnyLayout) {
  const Weights weights = Weights::from_tensors({{"n.weight", at::ones({4})}, {"n.bias", at::zeros({4})}}, "test", {});
  const GroupNorm norm = GroupNorm::load(weights, "n", 4, 2);
  const at::Tensor x = tests::formula_tensor("x", {2, 4, 3, 5, 6}) + 3;
  const at::Tensor y = norm(x), groups = y.view({2, 2, -1});
  EXPECT_LT(groups.mean(2).abs().max().item<double>(), 1e-5);
  EXPECT_LT((groups.var(2, /*unbiased=*/false) - 1).abs().max().item<double>(), 1e-3);
  EXPECT_LT(tests::relative_error(norm(x.contiguous(at::MemoryFormat::ChannelsLast3d)), y), 1e-5);
}

}  // namespace
}  // namespace magicid::models::nn
