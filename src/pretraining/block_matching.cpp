#include "pretraining/block_matching.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/replication_pad2d.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <vector>

#include "base/errors.h"

namespace magicid::pretraining {

at::Tensor match_blocks(const at::Tensor& first, const at::Tensor& second, std::int64_t block, std::int64_t reach) {
  base::check_invariant(first.dim() == 3 && first.size(0) == 3 && second.sizes() == first.sizes() && block > 0 && block % 2 == 1 && reach > 0,
                        "block matching takes two pictures [3,H,W] of one size, an odd block and a reach");
  const std::int64_t height = first.size(1), width = first.size(2), edge = block / 2, pad = reach + 1;
  const at::Tensor padded = at::replication_pad2d(second.unsqueeze(0), {pad, pad, pad, pad});
  // Every second row and column is a pixel of its own, those between are means of neighbours.
  const at::Tensor fine = at::upsample_bilinear2d(padded, {2 * (height + 2 * pad) - 1, 2 * (width + 2 * pad) - 1}, /*align_corners=*/true);
  std::vector<at::Tensor> costs;
  std::vector<float> shifts;
  for (std::int64_t dy = -2 * reach; dy <= 2 * reach; ++dy)
    for (std::int64_t dx = -2 * reach; dx <= 2 * reach; ++dx) {
      const std::int64_t top = 2 * pad + dy, left = 2 * pad + dx;
      const at::Tensor moved = fine.slice(2, top, top + 2 * height - 1, 2).slice(3, left, left + 2 * width - 1, 2);
      const at::Tensor difference = (moved - first.unsqueeze(0)).square().sum(1, /*keepdim=*/true);
      const at::Tensor cost = at::avg_pool2d(at::replication_pad2d(difference, {edge, edge, edge, edge}), {block, block}, {1, 1});
      costs.push_back(cost[0][0] + 1e-6 * static_cast<double>(dx * dx + dy * dy));
      shifts.push_back(static_cast<float>(dx) / 2);
      shifts.push_back(static_cast<float>(dy) / 2);
    }
  const at::Tensor best = at::stack(costs).argmin(0);  // [H,W]
  return at::tensor(shifts).view({-1, 2}).index_select(0, best.flatten()).view({height, width, 2}).permute({2, 0, 1}).contiguous();
}

}  // namespace magicid::pretraining
