// A whole pipeline folder with random weights, for tests and first steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace magicid::models::hunyuan_video {

// `size`: "tiny" (0.6M parameters in the transformer) or "mid" (about 100M), in fp32, or "hunyuanvideo": the published names, shapes, dtypes and shards, with
// small tokenisers. It has the right shapes and knows nothing; magicid.json in it says so. Values are a function of size and seed alone; without a seed they
// are zeros that take no disk. Throws UserError for another size, SystemError when the disk fails.
void write_random_pipeline(const std::filesystem::path& out, const std::string& size, std::optional<std::uint64_t> seed);

}  // namespace magicid::models::hunyuan_video
