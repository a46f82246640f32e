// Optical flow between frames of any size.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/vision/raft.h"

namespace magicid::models::vision {

// image1, image2 [N,3,H,W] RGB in -1..1 (2 * x / 255 - 1), any H and W -> flow [N,2,H,W] float on the network's device, in pixels of these
// images (channel 0 is x).
//
// A shorter side below raft_minimum_size is scaled up to it (bilinear, both sides by one factor) and the flow is scaled back, each channel
// by its own side's factor. Sides are then padded to multiples of 8 by repeating the border, half on either side, as princeton-vl/RAFT's
// InputPadder does. Pairs are taken in parts so that their correlations stay below 2 GiB. Not differentiable.
// Throws InvariantError for other shapes and updates below 1.
at::Tensor estimate_flow(const Raft& network, const at::Tensor& image1, const at::Tensor& image2, int updates);

// The same with the flows after every update, all pairs at once, recorded by autograd where grad mode is on: networks are trained on exactly the scaling that
// they are used with.
std::vector<at::Tensor> estimate_flows(const Raft& network, const at::Tensor& image1, const at::Tensor& image2, int updates);

}  // namespace magicid::models::vision
