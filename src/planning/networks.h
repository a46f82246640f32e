// What the reward networks cost. Operations as in models/generator/cost.h: two for a multiplication and an addition.
#pragma once

#include <cstdint>
#include <vector>

#include "models/generator/cost.h"

namespace magicid::planning {

models::generator::EncoderSize clip_l_vision();  // openai/clip-vit-large-patch14, vision_config: 257 tokens at 224 x 224

// ArcFace's iresnet (Deng et al. 2019, arXiv:1801.07698, and insightface's iresnet.py) at 112 x 112; {3, 13, 30, 3} is iresnet100.
double iresnet_flops(const std::vector<std::int64_t>& blocks);

// torchvision's RAFT for one pair of frames. Of `height` x `width` pixels: the encoders and each update are proportional to the pixels, the correlation
// of all pairs of positions at 1/8 resolution to their square. The factors were counted with torch.utils.flop_counter on torchvision 0.26
// (tests/reference/count_raft.py).
double raft_flops(bool large, std::int64_t height, std::int64_t width, std::int64_t updates);
// The four levels of correlations of one pair in fp32.
double raft_correlation_bytes(std::int64_t height, std::int64_t width);

}  // namespace magicid::planning
