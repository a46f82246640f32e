// Still pictures as tensors. Everywhere in this program an image is [3,H,W], float32, RGB, values in 0..1, on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace magicid::media {

// Larger pictures are refused before they are decoded.
inline constexpr std::int64_t max_image_pixels = 400'000'000;
inline constexpr std::int64_t max_image_bytes = 1'000'000'000;

// Reads a JPEG, PNG or WebP file -> [3,H,W]. The EXIF orientation is applied; grey is repeated to three channels; 16-bit samples keep
// their precision; transparency is composited on white (a cut-out portrait's hidden colours are arbitrary). Colour profiles are ignored: samples
// are taken as sRGB. Throws UserError naming the file and the cause: missing, empty, not an image, truncated, damaged, too large.
at::Tensor read_image(const std::filesystem::path& path);
// The same from bytes in memory; `name` stands for the file in messages.
at::Tensor decode_image(std::string_view bytes, const std::string& name);

// Files' bytes in memory; image [3,H,W] of any device and floating type, clamped to 0..1, NaN as 0, 8 bits. `quality` 1..100.
std::string encode_png(const at::Tensor& image);
std::string encode_jpeg(const at::Tensor& image, int quality = 92);
std::string encode_webp(const at::Tensor& image, int quality = 90);
// Written atomically; the extension does not matter. Throws SystemError when the disk fails.
void write_png(const std::filesystem::path& path, const at::Tensor& image);
void write_jpeg(const std::filesystem::path& path, const at::Tensor& image, int quality = 92);

// [3,H,W] or [F,3,H,W] in 0..1 -> uint8 [H,W,3] or [F,H,W,3], contiguous on the CPU: clamped, rounded to nearest, NaN as 0.
at::Tensor to_bytes_hwc(const at::Tensor& images);

// The pictures of a folder: files ending in .jpg, .jpeg, .png or .webp (any case), not hidden ones, sorted by name. Throws UserError when the
// folder is missing or has none, and for a name that is not UTF-8, which run directories and reports could not hold.
std::vector<std::filesystem::path> list_images(const std::filesystem::path& folder);
// The files beside them that are pictures by their names but of formats that are not read (HEIC, AVIF, TIFF, camera raw ...), sorted by name: for a warning.
std::vector<std::filesystem::path> list_unread_pictures(const std::filesystem::path& folder);

}  // namespace magicid::media
