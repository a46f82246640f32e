// Video files as tensors: frames are [F,3,H,W], float32, RGB, values in 0..1, on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace magicid::media {

struct WriteVideoOptions {
  double fps = 24;
  std::int64_t quality = 18;  // x264's constant rate factor: 0 lossless, 18 visually lossless, 51 worst
};

// Writes an MP4 that browsers play: H.264 (libx264, yuv420p, BT.709 limited range, index in front). Odd heights and widths are made even by
// repeating the last row or column. Without libx264 in FFmpeg the codec is MPEG-4 part 2, which browsers do not play: see video_codec().
// frames [F,3,H,W] of any device and floating type, clamped to 0..1, NaN as 0; F >= 1. Written atomically. Throws SystemError naming the path.
void write_mp4(const std::filesystem::path& path, const at::Tensor& frames, const WriteVideoOptions& options = {});

struct WriteWebpOptions {
  double fps = 24;
  std::int64_t quality = 85;  // libwebp's: 0 worst, 100 best
};

// Writes a WebP picture that moves and begins anew for ever, as browsers and README pages show it; at most 16383 pixels a side. frames as for write_mp4, odd
// sizes too. Written atomically. Throws UserError for larger frames and where FFmpeg has no libwebp_anim, SystemError naming the path.
void write_webp(const std::filesystem::path& path, const at::Tensor& frames, const WriteWebpOptions& options = {});

// "libx264" or "mpeg4": what write_mp4 uses with the FFmpeg that this program runs with.
std::string video_codec();

struct ReadVideoOptions {
  std::int64_t max_frames = 0;  // the first so many; 0: all
  double fps = 0;               // 0: the file's frames; else frame i is the one on screen at i / fps seconds
};

struct Video {
  at::Tensor frames;      // [F,3,H,W]
  double fps = 0;         // of `frames`
  double source_fps = 0;  // of the file
};

// Reads the first video stream of any file that FFmpeg reads; a phone's rotation (quarter turns) is applied; untagged files are taken as BT.709 from 720
// lines on, else BT.601. Throws UserError naming the file and the cause: missing, not a video, no video stream, no frame, damaged. A file that ends within a
// frame gives the frames before it.
Video read_video(const std::filesystem::path& path, const ReadVideoOptions& options = {});

// Files ending in .mp4, .mov, .mkv, .webm or .avi (any case), not hidden ones, sorted. Throws UserError when the folder is missing or has none, and for a name
// that is not UTF-8.
std::vector<std::filesystem::path> list_videos(const std::filesystem::path& folder);

}  // namespace magicid::media
