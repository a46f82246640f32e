#include "models/qwen2_5_vl/video_processor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "models/nn/network_config.h"
#include "storage/files.h"

namespace magicid::models::qwen2_5_vl {
namespace {

using base::UserError;
using nn::NetworkConfig;

// Of the reference; longer frames would become one row of patches.
constexpr std::int64_t largest_aspect_ratio = 200;

NetworkConfig open_preprocessing(const std::filesystem::path& folder) {
  if (storage::exists(folder / "processor_config.json")) {
    const NetworkConfig all = NetworkConfig::open(folder / "processor_config.json");
    if (all.has("video_processor")) return all.object("video_processor");
  }
  for (const char* name : {"video_preprocessor_config.json", "preprocessor_config.json"})
    if (storage::exists(folder / name)) return NetworkConfig::open(folder / name);
  throw UserError(
      folder.string(),
      ": has no preprocessor_config.json, which says how frames are prepared (nor video_preprocessor_config.json, nor processor_config.json with a part "
      "video_processor). Was the download complete?");
}

}  // namespace

std::array<std::int64_t, 2> smart_resize(std::int64_t height, std::int64_t width, std::int64_t factor, std::int64_t min_pixels, std::int64_t max_pixels) {
  base::check_invariant(height > 0 && width > 0 && factor > 0, "smart_resize of ", height, "x", width);
  if (std::max(height, width) > largest_aspect_ratio * std::min(height, width))
    throw UserError("a frame of ", height, "x", width, " pixels is more than ", largest_aspect_ratio,
                    " times as long as wide; Qwen2.5-VL takes no such frames");
  const auto h = static_cast<double>(height), w = static_cast<double>(width), f = static_cast<double>(factor);
  // std::nearbyint rounds halves to even, as Python's round does.
  const auto nearest = [&](double side) { return static_cast<std::int64_t>(std::nearbyint(side / f)) * factor; };
  std::array<std::int64_t, 2> size = {nearest(h), nearest(w)};
  if (size[0] * size[1] > max_pixels) {
    const double beta = std::sqrt(h * w / static_cast<double>(max_pixels));
    const auto below = [&](double side) { return std::max(factor, static_cast<std::int64_t>(std::floor(side / beta / f)) * factor); };
    size = {below(h), below(w)};
  } else if (size[0] * size[1] < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (h * w));
    const auto above = [&](double side) { return static_cast<std::int64_t>(std::ceil(side * beta / f)) * factor; };
    size = {above(h), above(w)};
  }
  return size;
}

VideoProcessor VideoProcessor::load(const std::filesystem::path& folder, const VisionTowerConfig& vision) {
  const NetworkConfig config = open_preprocessing(folder);
  VideoProcessor p;
  const NetworkConfig size = config.object("size");
  // The older keys win over `size`, as in the reference. Sizes of a network are smaller; a frame may have more pixels than 2^24 only by a typing error.
  p.min_pixels_ = config.size("min_pixels", size.size("shortest_edge", p.min_pixels_));
  p.max_pixels_ = config.size("max_pixels", size.size("longest_edge", p.max_pixels_));
  if (p.min_pixels_ > p.max_pixels_)
    throw UserError(config.place(), ": a frame may have ", p.min_pixels_, " pixels at least and ", p.max_pixels_, " at most; the first must not be larger");
  p.patch_size_ = config.size("patch_size", p.patch_size_);
  p.temporal_patch_size_ = config.size("temporal_patch_size", p.temporal_patch_size_);
  p.merge_size_ = config.size("merge_size", p.merge_size_);
  if (p.patch_size_ != vision.patch_size) config.refuse("patch_size", "vision_config's of config.json, ", vision.patch_size, ",");
  if (p.temporal_patch_size_ != vision.temporal_patch_size)
    config.refuse("temporal_patch_size", "vision_config's of config.json, ", vision.temporal_patch_size, ",");
  if (p.merge_size_ != vision.spatial_merge_size)
    config.refuse("merge_size", "vision_config's spatial_merge_size of config.json, ", vision.spatial_merge_size, ",");
  p.cap_pixels_per_frame_ = config.boolean("cap_pixels_per_frame", false);
  p.max_video_tokens_ = config.size("max_video_tokens", p.max_video_tokens_);
  p.mean_ = config.three_numbers("image_mean", p.mean_);
  p.std_ = config.three_numbers("image_std", p.std_);
  for (const double deviation : p.std_)
    if (!(deviation > 0)) config.refuse("image_std", "numbers above 0");
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"})
    if (!config.boolean(step, true)) config.refuse(step, "true");
  constexpr int bicubic = 3;  // of PIL's resampling filters
  if (config.number("resample", bicubic) != bicubic) config.refuse("resample", "3 (bicubic)");
  if (std::abs(config.number("rescale_factor", 1.0 / 255) * 255 - 1) > 1e-6) config.refuse("rescale_factor", "1/255");
  return p;
}

VideoPatches VideoProcessor::operator()(const at::Tensor& frames) const {
  base::check_invariant(frames.dim() == 4 && frames.size(0) >= 1 && frames.size(1) == 3, "the video processor needs frames [F,3,H,W], not ", frames.sizes());
  const std::int64_t count = frames.size(0), factor = patch_size_ * merge_size_;
  std::int64_t most = max_pixels_;
  if (cap_pixels_per_frame_) {
    const auto all = static_cast<std::int64_t>(static_cast<double>(max_video_tokens_ * factor * factor) * 0.9);
    most = std::max(std::min(most, all * temporal_patch_size_ / count), static_cast<std::int64_t>(static_cast<double>(min_pixels_) * 1.05));
  }
  const auto [height, width] = smart_resize(frames.size(2), frames.size(3), factor, min_pixels_, most);
  at::Tensor x = frames.to(at::kFloat).mul(255).round_().clamp_(0, 255).to(at::kCPU, at::kByte);
  if (height != frames.size(2) || width != frames.size(3)) x = at::_upsample_bicubic2d_aa(x, {height, width}, /*align_corners=*/false);
  // Mean and deviation in levels: rescaling and normalising are one step in the reference.
  const auto levels = [](const std::array<double, 3>& values) {
    return at::tensor(at::ArrayRef<double>(values), at::TensorOptions(at::kFloat)).mul(255).view({1, 3, 1, 1});
  };
  x = x.to(at::kFloat).sub_(levels(mean_)).div_(levels(std_));
  if (const std::int64_t rest = count % temporal_patch_size_; rest != 0)
    x = at::cat({x, x.slice(0, count - 1).expand({temporal_patch_size_ - rest, 3, height, width})});
  VideoPatches video;
  video.grid = {x.size(0) / temporal_patch_size_, height / patch_size_, width / patch_size_};
  const auto& g = video.grid;
  video.pixel_values_videos = x.view({g.t, temporal_patch_size_, 3, g.h / merge_size_, merge_size_, patch_size_, g.w / merge_size_, merge_size_, patch_size_})
                                  .permute({0, 3, 6, 4, 7, 2, 1, 5, 8})
                                  .reshape({g.patches(), 3 * temporal_patch_size_ * patch_size_ * patch_size_});
  return video;
}

}  // namespace magicid::models::qwen2_5_vl
