#include "rewards/semantics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "base/errors.h"
#include "rewards/frame_sampling.h"

namespace magicid::rewards {
namespace {

at::Tensor unit(const at::Tensor& rows) { return normalise_rows(rows.to(at::kCPU, at::kDouble)); }

}  // namespace

// The smallest length is set before the root, whose gradient at 0 is not finite.
at::Tensor normalise_rows(const at::Tensor& rows) { return rows / at::clamp_min(rows.square().sum({-1}, /*keepdim=*/true), 1e-24).sqrt(); }

at::Tensor image_features(const at::Tensor& frames, std::int64_t count, const ImageNetwork& network, std::int64_t batch) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(0) >= 1, "image_features needs frames [F,3,H,W]");
  const std::vector<std::int64_t> indices = evenly_spaced_frames(frames.size(0), count);
  std::vector<at::Tensor> parts;
  for (std::size_t first = 0; first < indices.size(); first += static_cast<std::size_t>(batch)) {
    const std::size_t end = std::min(indices.size(), first + static_cast<std::size_t>(batch));
    const std::vector<std::int64_t> part(indices.begin() + first, indices.begin() + end);
    parts.push_back(network(frames.index_select(0, at::tensor(part, at::TensorOptions(frames.device()).dtype(at::kLong)))).to(at::kCPU, at::kFloat));
  }
  return normalise_rows(at::cat(parts));
}

at::Tensor tile_frames(const at::Tensor& frames, std::int64_t side) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(0) >= 1 && side >= 1,
                        "tile_frames needs frames [F,3,H,W] and a side of at least 1");
  std::vector<std::int64_t> indices = evenly_spaced_frames(frames.size(0), side * side);
  indices.resize(static_cast<std::size_t>(side * side), indices.back());
  const at::Tensor chosen = frames.index_select(0, at::tensor(indices, at::TensorOptions(frames.device()).dtype(at::kLong)));
  return chosen.view({side, side, 3, frames.size(2), frames.size(3)}).permute({2, 0, 3, 1, 4}).reshape({3, side * frames.size(2), side * frames.size(3)});
}

at::Tensor text_similarity(const at::Tensor& features, const at::Tensor& text) {
  base::check_invariant(features.dim() == 2 && text.numel() == features.size(1), "text_similarity needs features [S,D] and text [D]");
  return at::matmul(unit(features), unit(text.reshape({1, -1})).squeeze(0)).mean();
}

double semantic_reward(const at::Tensor& features, const at::Tensor& text) { return text_similarity(features, text).item<double>(); }

double clip_text_score(const at::Tensor& features, const at::Tensor& text) { return 100 * semantic_reward(features, text); }

double clip_image_score(const at::Tensor& features, const at::Tensor& references) {
  base::check_invariant(features.dim() == 2 && references.dim() == 2 && references.size(0) >= 1 && references.size(1) == features.size(1),
                        "clip_image_score needs features [S,D] and references [R,D]");
  return 100 * at::matmul(unit(features), unit(references).t()).mean().item<double>();
}

double temporal_consistency(const at::Tensor& features) {
  base::check_invariant(features.dim() == 2 && features.size(0) >= 1, "temporal_consistency needs features [F,D]");
  const std::int64_t pairs = features.size(0) - 1;
  if (pairs == 0) return 1;
  const at::Tensor rows = unit(features);
  return (rows.narrow(0, 0, pairs) * rows.narrow(0, 1, pairs)).sum({-1}).mean().item<double>();
}

}  // namespace magicid::rewards
