// Reward networks with random weights, for tests and first steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace magicid::rewards {

// arcface, raft and clip below `out`; `size` is that of the pipeline they go with: tiny and mid have small ones, hunyuanvideo those of the published networks
// (iresnet100, RAFT large, CLIP ViT-L/14). fp32, a function of size and seed alone; without a seed zeros that take no disk. Throws SystemError when the disk
// fails.
void write_random_reward_networks(const std::filesystem::path& out, const std::string& size, std::optional<std::uint64_t> seed);

// A small Qwen2.5-VL in vqa below `out`, for rewards.semantics: vqa. As above.
void write_random_vqa_network(const std::filesystem::path& out, std::uint64_t seed);

}  // namespace magicid::rewards
