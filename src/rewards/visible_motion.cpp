#include "rewards/visible_motion.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/grid_sampler_2d.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/kthvalue.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"

namespace magicid::rewards {
namespace {

// Two grey levels of 255, as a variance: a smaller change cannot be told from rounding.
constexpr double smallest_change = (2.0 / 255) * (2.0 / 255);
// Below the first figure a pair counts 0, from the second on it counts whole. Measured with the small world's RAFT
// (tests/unit/rewards/visible_motion_test.cpp): 55 of 60 pairs of moving clips explain 0.4 and more and lead back from 0.8 of the pixels and more (one of the
// others is a cut); of 70 pairs of noise, cuts and lamps all but one lead back from less than 0.2 or explain less than 0.2.
constexpr double explained_from = 0.2, explained_to = 0.4, consistent_from = 0.3, consistent_to = 0.5;

double rise(double value, double from, double to) { return std::clamp((value - from) / (to - from), 0.0, 1.0); }

// images [C,H,W] at the points (x, y) [H,W], bilinear, the border repeated.
at::Tensor sample_at(const at::Tensor& images, const at::Tensor& x, const at::Tensor& y) {
  const auto unit = [](const at::Tensor& index, std::int64_t length) { return index * (2.0 / static_cast<double>(std::max<std::int64_t>(1, length - 1))) - 1; };
  const at::Tensor grid = at::stack({unit(x, images.size(2)), unit(y, images.size(1))}, -1).unsqueeze(0);
  return at::grid_sampler_2d(images.unsqueeze(0), grid, /*bilinear*/ 0, /*border*/ 1, /*align_corners=*/true).squeeze(0);
}

// Mean over a square window around each pixel, as far as it lies in the picture.
at::Tensor window_mean(const at::Tensor& maps, std::int64_t window) {
  const at::Tensor rows = at::avg_pool2d(maps.unsqueeze(0), {window, 1}, {1, 1}, {window / 2, 0}, /*ceil_mode=*/false, /*count_include_pad=*/false);
  return at::avg_pool2d(rows, {1, window}, {1, 1}, {0, window / 2}, /*ceil_mode=*/false, /*count_include_pad=*/false).squeeze(0);
}

// [3,H,W] -> [H,W]: variance of the difference in each window, mean over the colours. A change of light alone has next to none.
at::Tensor change(const at::Tensor& difference, std::int64_t window) {
  return at::clamp_min(window_mean(difference.square(), window) - window_mean(difference, window).square(), 0).mean(0);
}

// What the best explained tenth leaves over.
double noise_of(const at::Tensor& left_over) {
  if (left_over.numel() == 0) return 0;
  return std::get<0>(at::kthvalue(left_over, 1 + (left_over.numel() - 1) / 10)).item<double>();
}

}  // namespace

double VisibleMotion::weight() const { return rise(explained, explained_from, explained_to) * rise(consistent, consistent_from, consistent_to); }

double VisibleMotion::score() const { return std::isfinite(pixels) ? pixels * weight() : pixels; }

VisibleMotion visible_motion(const at::Tensor& first, const at::Tensor& second, const at::Tensor& forward, const at::Tensor& backward) {
  base::check_invariant(first.dim() == 3 && first.size(0) == 3 && first.sizes() == second.sizes() && forward.dim() == 3 && forward.size(0) == 2 &&
                            forward.sizes() == backward.sizes() && forward.size(1) == first.size(1) && forward.size(2) == first.size(2),
                        "visible_motion needs frames [3,H,W] and flows [2,H,W], not ", first.sizes(), ", ", second.sizes(), ", ", forward.sizes(), " and ",
                        backward.sizes());
  const std::int64_t height = first.size(1), width = first.size(2);
  if (!at::isfinite(forward).all().item<bool>() || !at::isfinite(backward).all().item<bool>()) return {.pixels = std::numeric_limits<double>::quiet_NaN()};
  const at::Tensor x = at::arange(width, forward.options()).unsqueeze(0) + forward[0], y = at::arange(height, forward.options()).unsqueeze(1) + forward[1];
  const at::Tensor inside = (x >= 0) & (x <= static_cast<double>(width - 1)) & (y >= 0) & (y <= static_cast<double>(height - 1));

  // Odd, and no wider than the picture.
  const std::int64_t shorter = std::min(height, width), window = std::min(std::max<std::int64_t>(5, shorter / 16 / 2 * 2 + 1), (shorter - 1) / 2 * 2 + 1);
  const at::Tensor before = change(second - first, window), after = change(sample_at(second, x, y) - first, window);
  const double noise = noise_of(after.masked_select(inside));

  const at::Tensor seen = at::where(before > smallest_change + 2 * noise, forward.square().sum(0).sqrt(), at::zeros_like(x)).flatten();
  const auto count = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(seen.numel()) * 0.05));
  const auto [largest, places] = at::topk(seen, count);
  VisibleMotion motion{.pixels = largest.mean().item<double>()};

  // Those of them that move and stay in the picture can be checked.
  const at::Tensor checked = places.masked_select((largest > 0) & inside.flatten().index_select(0, places));
  if (checked.numel() == 0) return motion;
  const auto energy = [&](const at::Tensor& map) { return at::clamp_min(map.flatten().index_select(0, checked) - noise, 0).sum().item<double>(); };
  motion.explained = 1 - energy(after) / energy(before);

  const at::Tensor returned = sample_at(backward, x, y), error = (forward + returned).square().sum(0),
                   length = forward.square().sum(0) + returned.square().sum(0);
  motion.consistent = (error < 0.04 * length + 1).flatten().index_select(0, checked).to(at::kDouble).mean().item<double>();
  return motion;
}

}  // namespace magicid::rewards
