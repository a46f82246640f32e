// Reward networks with random weights, for tests and first steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace magicid::rewards {

// arcface, raft and clip below `out`, small; `size` (tiny or mid) is that of the pipeline they go with, and changes CLIP's text encoder. fp32, a function of
// size and seed alone. Throws SystemError when the disk fails.
void write_random_reward_networks(const std::filesystem::path& out, const std::string& size, std::uint64_t seed);

// A small Qwen2.5-VL in vqa below `out`, for rewards.semantics: vqa. As above.
void write_random_vqa_network(const std::filesystem::path& out, std::uint64_t seed);

}  // namespace magicid::rewards
