#include "pretraining/face_crops.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace magicid::pretraining {
namespace {

TEST(FaceCrops, SharesOfTokensThatShowTheHead) {
  // Five frames of 32 x 48; tokens of 8 x 8 pixels, latent frames of 1 and 4 frames.
  at::Tensor boxes = at::zeros({5, 4});
  boxes[0].copy_(at::tensor({8.0F, 20.0F, 16.0F, 30.0F}));   // with hair: rows 14 to 30
  boxes[1].copy_(at::tensor({20.0F, 20.0F, 24.0F, 30.0F}));  // half a token wide
  boxes[3].copy_(at::tensor({40.0F, 20.0F, 48.0F, 30.0F}));
  const at::Tensor shares = head_shares(boxes, 32, 48, 8, 4);
  at::Tensor expected = at::zeros({2, 4, 6});
  const auto column = [&](int latent, int at, double wide) {
    const double rows[] = {0, 0.25, 1, 0.75};
    for (int row = 0; row < 4; ++row) expected[latent][row][at] = rows[row] * wide;
  };
  column(0, 1, 1), column(1, 2, 0.5), column(1, 5, 1);
  EXPECT_TRUE(at::allclose(shares, expected.flatten())) << shares;
}

TEST(FaceCrops, NoFaceNoShare) { EXPECT_EQ(head_shares(at::zeros({1, 4}), 16, 16, 8, 4).sum().item<float>(), 0); }

}  // namespace
}  // namespace magicid::pretraining
