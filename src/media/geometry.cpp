#include "media/geometry.h"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace magicid::media {

at::Tensor resize(const at::Tensor& images, Size size, Interpolation interpolation) {
  base::check_invariant(images.dim() >= 3 && size.height > 0 && size.width > 0, "resize needs [...,3,H,W] and a positive size");
  if (images.size(-2) == size.height && images.size(-1) == size.width) return images;
  std::vector<std::int64_t> shape = images.sizes().vec();
  const at::Tensor flat = images.reshape({-1, images.size(-3), images.size(-2), images.size(-1)});
  const std::vector<std::int64_t> target{size.height, size.width};
  const at::Tensor scaled = interpolation == Interpolation::bicubic ? at::clamp(at::_upsample_bicubic2d_aa(flat, target, /*align_corners=*/false), 0, 1)
                                                                    : at::_upsample_bilinear2d_aa(flat, target, /*align_corners=*/false);
  shape[shape.size() - 2] = size.height;
  shape[shape.size() - 1] = size.width;
  return scaled.reshape(shape);
}

at::Tensor resize_short_side(const at::Tensor& images, std::int64_t side, Interpolation interpolation) {
  const std::int64_t height = images.size(-2), width = images.size(-1);
  const auto scaled = [&](std::int64_t length, std::int64_t shorter) { return length == shorter ? side : side * length / shorter; };
  const std::int64_t shorter = std::min(height, width);
  return resize(images, {scaled(height, shorter), scaled(width, shorter)}, interpolation);
}

at::Tensor center_crop(const at::Tensor& images, Size size) {
  const std::int64_t height = images.size(-2), width = images.size(-1);
  base::check_invariant(height >= size.height && width >= size.width, "center_crop of ", size.height, "x", size.width, " from ", height, "x", width);
  const auto top = static_cast<std::int64_t>(std::nearbyint(static_cast<double>(height - size.height) / 2));
  const auto left = static_cast<std::int64_t>(std::nearbyint(static_cast<double>(width - size.width) / 2));
  return images.narrow(-2, top, size.height).narrow(-1, left, size.width);
}

at::Tensor crop_edge_padded(const at::Tensor& images, const Window& window) {
  base::check_invariant(window.width > 0 && window.height > 0, "an empty crop window");
  const auto indices = [&](std::int64_t start, std::int64_t count, std::int64_t limit) {
    return at::clamp(at::arange(start, start + count, at::TensorOptions(images.device()).dtype(at::kLong)), 0, limit - 1);
  };
  return images.index_select(-2, indices(window.y, window.height, images.size(-2))).index_select(-1, indices(window.x, window.width, images.size(-1)));
}

at::Tensor pad_centered(const at::Tensor& images, double factor, double value) {
  const auto border = [&](std::int64_t length) { return static_cast<std::int64_t>(std::llround(static_cast<double>(length) * (factor - 1) / 2)); };
  const std::int64_t y = border(images.size(-2)), x = border(images.size(-1));
  return at::constant_pad_nd(images, {x, x, y, y}, value);
}

Window cover_window(Size image, Size size, const std::optional<Box>& focus, double margin) {
  base::check_invariant(image.height > 0 && image.width > 0 && size.height > 0 && size.width > 0, "cover_window needs positive sizes");
  const double height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  const double aspect = static_cast<double>(size.width) / static_cast<double>(size.height);
  double window_height = std::min(height, width / aspect);
  double center_x = width / 2, center_y = height / 2;
  if (focus) {
    const double left = std::max(0.0, focus->x - margin * focus->width), right = std::min(width, focus->x + (1 + margin) * focus->width);
    const double top = std::max(0.0, focus->y - margin * focus->height), bottom = std::min(height, focus->y + (1 + margin) * focus->height);
    if (right > left && bottom > top) {
      center_x = (left + right) / 2;
      center_y = (top + bottom) / 2;
      window_height = std::max({window_height, bottom - top, (right - left) / aspect});
    }
  }
  // Where the window is larger than the image it keeps the whole image inside, else it stays inside the image.
  const auto place = [](double center, std::int64_t length, std::int64_t limit) {
    const std::int64_t slack = limit - length;
    return std::clamp(static_cast<std::int64_t>(std::llround(center - static_cast<double>(length) / 2)), std::min<std::int64_t>(0, slack),
                      std::max<std::int64_t>(0, slack));
  };
  Window window;
  window.height = std::max<std::int64_t>(1, std::llround(window_height));
  window.width = std::max<std::int64_t>(1, std::llround(window_height * aspect));
  window.x = place(center_x, window.width, image.width);
  window.y = place(center_y, window.height, image.height);
  return window;
}

at::Tensor cover_crop(const at::Tensor& image, Size size, const std::optional<Box>& focus, double margin) {
  return resize(crop_edge_padded(image, cover_window({image.size(-2), image.size(-1)}, size, focus, margin)), size).contiguous();
}

Size bucket_size(Size image, std::int64_t max_area, std::int64_t multiple, const std::string& name) {
  base::check_invariant(multiple > 0, "bucket_size needs a positive multiple");
  if (image.height < multiple || image.width < multiple)
    throw base::UserError(name, ": the photo has ", image.width, " x ", image.height, " pixels; at least ", multiple, " x ", multiple,
                          " are needed. Use a larger photo.");
  if (max_area < multiple * multiple)
    throw base::UserError("the training area of ", max_area, " pixels is smaller than one block of ", multiple, " x ", multiple,
                          "; choose a larger height and width.");
  const double aspect = static_cast<double>(image.width) / static_cast<double>(image.height);
  const double possible = static_cast<double>(std::min(max_area, image.height * image.width));
  Size best;
  double best_value = -1;
  for (std::int64_t height = multiple; height <= image.height && height * multiple <= max_area; height += multiple) {
    const std::int64_t exact = static_cast<std::int64_t>(static_cast<double>(height) * aspect / static_cast<double>(multiple)) * multiple;
    for (std::int64_t width = std::max(exact, multiple); width <= exact + multiple; width += multiple) {
      if (width > image.width || height * width > max_area) break;
      const double ratio = static_cast<double>(width) / static_cast<double>(height) / aspect;
      const double value = std::min(ratio, 1 / ratio) * (static_cast<double>(height * width) / possible);
      if (value > best_value) {
        best_value = value;
        best = {height, width};
      }
    }
  }
  if (best_value < 0) {  // a panorama: even one row of blocks in its aspect exceeds the area
    best = {multiple, multiple};
    if (image.width >= image.height) best.width = std::min(image.width, max_area / multiple) / multiple * multiple;
    else best.height = std::min(image.height, max_area / multiple) / multiple * multiple;
  }
  return best;
}

at::Tensor fit_bucket(const at::Tensor& image, Size bucket, const std::optional<Box>& focus) {
  // A focus box without area centres the window without making it grow.
  const Size size{image.size(-2), image.size(-1)};
  std::optional<Box> point;
  if (focus)
    point = Box{std::clamp(focus->center_x(), 0.5, static_cast<double>(size.width) - 0.5) - 0.5,
                std::clamp(focus->center_y(), 0.5, static_cast<double>(size.height) - 0.5) - 0.5, 1, 1};
  return resize(crop_edge_padded(image, cover_window(size, bucket, point, 0)), bucket).contiguous();
}

}  // namespace magicid::media
