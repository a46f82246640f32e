// R_sem by CLIP, and the metrics that come from the same image features.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "rewards/models.h"

namespace magicid::rewards {

// Functions that return tensors are differentiable with respect to their first argument.

// Rows [N,D] scaled to length 1; a zero row stays zero, a row that is not finite stays so.
at::Tensor normalise_rows(const at::Tensor& rows);

// frames [F,3,H,W] in 0..1 -> features [S,D] float on the CPU, rows of length 1, of `count` evenly spaced frames (0: all).
at::Tensor image_features(const at::Tensor& frames, std::int64_t count, const ImageNetwork& network, std::int64_t batch = 8);

// One picture of evenly spaced frames, from left to right and from top to bottom: frames [F,3,H,W] -> [3, side*H, side*W]. A video of fewer than side * side
// frames repeats its last one. An image encoder that was trained on such pictures sees movement in them (image grids: Kim et al., "An Image Grid Can Be Worth a
// Video", arXiv:2403.18406).
at::Tensor tile_frames(const at::Tensor& frames, std::int64_t side);

// R_sem: mean over the frames of cos(text, image); features [S,D], text [D] of CLIP's projection -> [] double on the CPU. -1..1.
at::Tensor text_similarity(const at::Tensor& features, const at::Tensor& text);
double semantic_reward(const at::Tensor& features, const at::Tensor& text);
// CLIP-T: the same times 100.
double clip_text_score(const at::Tensor& features, const at::Tensor& text);
// CLIP-I: mean cosine of every frame with every reference photo's feature [R,D], times 100.
double clip_image_score(const at::Tensor& features, const at::Tensor& references);
// T. Cons.: mean cosine of consecutive frames' features; needs those of all frames. 1 for one frame.
double temporal_consistency(const at::Tensor& features);

}  // namespace magicid::rewards
