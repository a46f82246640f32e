// R_dy: how much a video moves. The reward counts motion that can be seen (visible_motion.h); VBench's figures stand beside it, for evaluation.
// Source: VBench's dynamic degree (vbench/dynamic_degree.py); the continuous score is the mean of its pair scores.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rewards/models.h"

namespace magicid::rewards {

struct Dynamics {
  std::vector<double> pair_scores;  // pixels, one for each pair of consecutive sampled frames
  double score = 0;                 // mean of pair_scores; 0 without a pair. Depends on resolution and frame rate: report them beside it.
  bool dynamic = false;             // VBench's boolean
  double reward = 0;   // R_dy, pixels: mean over the pairs of VisibleMotion::score(); a cut counts 0, and so does a clip in which no more than a fifth of
                       // the pairs shows motion. NaN where it was not asked for
  std::string reason;  // why there is no pair, empty otherwise
};

// The mean of the largest 5% of flow magnitudes (at least one pixel), flow [2,H,W].
double motion_of_flow(const at::Tensor& flow);

// frames [F,3,H,W] in 0..1 at `fps`; every round(fps / rate)-th frame. With `reward` the flow is computed forward and backward: twice the work.
Dynamics measure_dynamics(const at::Tensor& frames, double fps, double rate, const FlowNetwork& network, std::int64_t batch = 8, bool reward = true);

// VBench's decision: at least max(1, round(4 * sampled_frames / 16)) pairs above 6 * min(H, W) / 256 pixels. (VBench itself lets videos of one or two sampled
// frames pass with no moving pair, since its count rounds to 0; here one is needed.)
bool is_dynamic(const std::vector<double>& pair_scores, std::int64_t sampled_frames, std::int64_t height, std::int64_t width);

}  // namespace magicid::rewards
