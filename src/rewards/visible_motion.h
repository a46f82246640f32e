// How much of an optical flow is motion that can be seen: what a network says about noise, a cut, a flickering lamp or a black picture is no motion.
// Sources: the forward-backward check is that of Sundaram, Brox and Keutzer, "Dense point trajectories by GPU-accelerated large displacement optical flow"
// (ECCV 2010), in proportion to the motion; the other thresholds are measured (docs/method.md).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace magicid::rewards {

struct VisibleMotion {
  double pixels = 0;  // mean of the largest 5% of flow magnitudes, counting 0 where nothing changed that a motion could explain
  double explained =
      0;  // of the change in those pixels, the share that goes when the second frame is pulled back along the flow; 1 for a perfect flow, may be negative
  double consistent = 0;  // share of those pixels whose backward flow leads back to where they came from
  double weight() const;  // 1, down to 0 where `explained` or `consistent` say that this is no motion
  double score() const;   // weight() of `pixels`
};

// first, second [3,H,W] in 0..1; forward [2,H,W] from the first to the second frame and backward [2,H,W] from the second to the first, in pixels, (x, y). All
// on the flows' device. A flow that is not finite gives `pixels` that are not.
//
// Frames are compared window by window (a sixteenth of the shorter side, at least 5 pixels), less each window's mean difference: light that changes is no
// motion. What even the best explained tenth of the picture leaves over is taken for noise and counts on neither side.
VisibleMotion visible_motion(const at::Tensor& first, const at::Tensor& second, const at::Tensor& forward, const at::Tensor& backward);

}  // namespace magicid::rewards
