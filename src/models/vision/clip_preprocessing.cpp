#include "models/vision/clip_preprocessing.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "models/nn/network_config.h"

namespace magicid::models::vision {
namespace {

using base::UserError;
using nn::NetworkConfig;

// A size is a number (both sides, or the shortest edge) or an object.
void read_sizes(const NetworkConfig& config, ClipPreprocessing& to) {
  if (config.has("size") && config.value().at("size").is_object()) {
    const NetworkConfig size = config.object("size");
    if (size.has("shortest_edge")) {
      if (size.has("longest_edge")) throw UserError(size.place(), ": longest_edge is not supported; shortest_edge alone was expected");
      to.shortest_edge = size.size("shortest_edge", 0);
    } else if (size.has("height") && size.has("width")) {
      to.shortest_edge = 0;
      to.resize_height = size.size("height", 0);
      to.resize_width = size.size("width", 0);
    } else {
      throw UserError(size.place(), ": shortest_edge, or height and width, were expected");
    }
  } else {
    to.shortest_edge = config.size("size", to.shortest_edge);
  }
  if (config.has("crop_size") && config.value().at("crop_size").is_object()) {
    const NetworkConfig crop = config.object("crop_size");
    if (!crop.has("height") || !crop.has("width")) throw UserError(crop.place(), ": height and width were expected");
    to.crop_height = crop.size("height", 0);
    to.crop_width = crop.size("width", 0);
  } else {
    to.crop_height = config.size("crop_size", to.crop_height);
    to.crop_width = config.size("crop_size", to.crop_width);
  }
}

// Rounds [0, 255] values to what 8 bits hold, in place where no gradient is wanted. With one, the values are the same bits, and the gradient is that of the
// clamp alone: a rounding's own is zero almost everywhere, so it is passed through (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).
at::Tensor to_levels(at::Tensor x) {
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return x.round_().clamp_(0, 255);
  const at::Tensor inside = x.clamp(0, 255), level = inside.detach();
  return inside - level + level.round();  // 0 plus the level
}

}  // namespace

ClipPreprocessing ClipPreprocessing::load(const std::filesystem::path& folder, std::int64_t image_size) {
  ClipPreprocessing steps;
  steps.shortest_edge = steps.crop_height = steps.crop_width = image_size;
  NetworkConfig config(nlohmann::json::object(), folder.string());
  if (std::filesystem::exists(folder / "preprocessor_config.json")) config = NetworkConfig::open(folder / "preprocessor_config.json");
  else if (std::filesystem::exists(folder / "processor_config.json")) config = NetworkConfig::open(folder / "processor_config.json").object("image_processor");
  read_sizes(config, steps);
  steps.mean = config.three_numbers("image_mean", steps.mean);
  steps.std = config.three_numbers("image_std", steps.std);
  for (const double deviation : steps.std)
    if (!(deviation > 0)) throw UserError(config.place(), ": image_std must be above 0");
  for (const char* step : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"})
    if (!config.boolean(step, true)) config.refuse(step, "CLIP's own preprocessing, true,");
  constexpr int bicubic = 3;  // of PIL's resampling filters
  if (config.number("resample", bicubic) != bicubic) config.refuse("resample", "3 (bicubic)");
  const double level = config.number("rescale_factor", 1.0 / 255);
  if (std::abs(level * 255 - 1) > 1e-6) config.refuse("rescale_factor", "1/255");
  const std::int64_t height = steps.shortest_edge ? steps.shortest_edge : steps.resize_height,
                     width = steps.shortest_edge ? steps.shortest_edge : steps.resize_width;
  if (steps.crop_height > height || steps.crop_width > width)
    throw UserError(config.place(), ": crop_size (", steps.crop_height, "x", steps.crop_width, ") is larger than size (", height, "x", width, ")");
  return steps;
}

at::Tensor ClipPreprocessing::operator()(const at::Tensor& frames) const {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3 && frames.size(2) > 0 && frames.size(3) > 0, "frames have the shape ", frames.sizes(),
                        "; [N,3,H,W] was expected");
  const std::int64_t height = frames.size(2), width = frames.size(3), shorter = std::min(height, width);
  // The longer side is rounded down, as the reference does.
  const std::int64_t new_height = shortest_edge ? shortest_edge * height / shorter : resize_height;
  const std::int64_t new_width = shortest_edge ? shortest_edge * width / shorter : resize_width;
  if (frames.size(0) == 0) return at::zeros({0, 3, crop_height, crop_width}, frames.options().dtype(at::kFloat));
  at::Tensor x = to_levels(frames.to(at::kFloat).mul(255));
  // Columns first, then rows, with 8-bit levels between: as the reference's resize works.
  if (new_width != width) x = to_levels(at::_upsample_bicubic2d_aa(x, {height, new_width}, /*align_corners=*/false));
  if (new_height != height) x = to_levels(at::_upsample_bicubic2d_aa(x, {new_height, new_width}, /*align_corners=*/false));
  const std::int64_t top = (new_height - crop_height) / 2, left = (new_width - crop_width) / 2;
  x = x.slice(2, top, top + crop_height).slice(3, left, left + crop_width) / 255;
  const auto channels = [&](const std::array<double, 3>& values) { return at::tensor(at::ArrayRef<double>(values), x.options()).view({1, 3, 1, 1}); };
  return x.sub_(channels(mean)).div_(channels(std));
}

}  // namespace magicid::models::vision
