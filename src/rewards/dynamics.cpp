#include "rewards/dynamics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"
#include "rewards/frame_sampling.h"
#include "rewards/visible_motion.h"

namespace magicid::rewards {
namespace {

// Of the pairs, as many may pass by accident: no motion is counted; with twice as many, all of it.
constexpr double accident_share = 0.2;

}  // namespace

double motion_of_flow(const at::Tensor& flow) {
  base::check_invariant(flow.dim() == 3 && flow.size(0) == 2, "motion_of_flow needs [2,H,W]");
  const at::Tensor magnitude = flow.to(at::kCPU, at::kDouble).square().sum(0).sqrt().flatten();
  // topk orders NaN first, so a broken flow shows in the score.
  const auto count = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(magnitude.numel()) * 0.05));
  return std::get<0>(at::topk(magnitude, count)).mean().item<double>();
}

bool is_dynamic(const std::vector<double>& pair_scores, std::int64_t sampled_frames, std::int64_t height, std::int64_t width) {
  const double threshold = 6.0 * static_cast<double>(std::min(height, width)) / 256.0;
  const auto needed = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::nearbyint(4.0 * static_cast<double>(sampled_frames) / 16.0)));
  return std::count_if(pair_scores.begin(), pair_scores.end(), [&](double score) { return score > threshold; }) >= needed;
}

Dynamics measure_dynamics(const at::Tensor& frames, double fps, double rate, const FlowNetwork& network, std::int64_t batch, bool reward) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(0) >= 1, "measure_dynamics needs frames [F,3,H,W]");
  const std::vector<std::int64_t> indices = frames_for_flow(frames.size(0), fps, rate);
  Dynamics dynamics;
  const auto pairs = static_cast<std::int64_t>(indices.size()) - 1;
  double seen = 0;  // share of pairs whose motion can be seen
  if (pairs == 0) {
    dynamics.reason = frames.size(0) == 1
                          ? "the video has one frame"
                          : base::concat("its ", frames.size(0), " frames at ", fps, " frames per second give no pair at ", rate, " per second");
    return dynamics;
  }
  const at::Tensor sampled = frames.index_select(0, at::tensor(indices, at::TensorOptions(frames.device()).dtype(at::kLong)));
  for (std::int64_t first = 0; first < pairs; first += batch) {
    const std::int64_t count = std::min(batch, pairs - first);
    const at::Tensor before = sampled.narrow(0, first, count), after = sampled.narrow(0, first + 1, count), forward = network(before, after);
    for (std::int64_t i = 0; i < count; ++i) dynamics.pair_scores.push_back(motion_of_flow(forward[i]));
    if (!reward) continue;
    const at::Tensor backward = network(after, before), here = before.to(forward.options()), there = after.to(forward.options());
    for (std::int64_t i = 0; i < count; ++i) {
      const VisibleMotion motion = visible_motion(here[i], there[i], forward[i], backward[i]);
      dynamics.reward += motion.score() / static_cast<double>(pairs);
      seen += motion.weight() / static_cast<double>(pairs);
    }
  }
  for (double score : dynamics.pair_scores) dynamics.score += score / static_cast<double>(pairs);
  // A single pair that passes among many that do not is an accident of noise, and its flow is a large one.
  dynamics.reward *= std::clamp((seen - accident_share) / accident_share, 0.0, 1.0);
  if (!reward) dynamics.reward = std::numeric_limits<double>::quiet_NaN();
  dynamics.dynamic = is_dynamic(dynamics.pair_scores, static_cast<std::int64_t>(indices.size()), frames.size(2), frames.size(3));
  return dynamics;
}

}  // namespace magicid::rewards
