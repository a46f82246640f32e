// A whole pipeline folder with random weights, for tests and first steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace magicid::models::hunyuan_video {

// `size`: "tiny" (0.6M parameters in the transformer) or "mid" (about 100M). It has the right shapes and knows nothing; magicid.json in it says so. fp32, a
// function of size and seed alone. Throws UserError for another size, SystemError when the disk fails.
void write_random_pipeline(const std::filesystem::path& out, const std::string& size, std::uint64_t seed);

}  // namespace magicid::models::hunyuan_video
