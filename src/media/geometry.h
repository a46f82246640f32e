// Sizes, crops and scaling of images [3,H,W] and frames [F,3,H,W], float. Coordinates are pixels with the origin at the image's top-left corner:
// the centre of the first pixel is (0.5, 0.5) for boxes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace magicid::media {

struct Size {
  std::int64_t height = 0, width = 0;
  bool operator==(const Size&) const = default;
};

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
  double area() const { return width * height; }
  double center_x() const { return x + width / 2; }
  double center_y() const { return y + height / 2; }
};

// An integer window that may reach outside its image.
struct Window {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
  bool operator==(const Window&) const = default;
};

enum class Interpolation { bilinear, bicubic };

// [...,3,H,W] -> [...,3,height,width]; antialiased when shrinking, equal to torchvision's resize(antialias=True) on tensors (half-pixel centres).
// Bicubic (a = -0.5) is clamped to 0..1. Differentiable.
at::Tensor resize(const at::Tensor& images, Size size, Interpolation interpolation = Interpolation::bicubic);
// The short side becomes `side`, the long one floor(side * long / short), as torchvision's Resize(int).
at::Tensor resize_short_side(const at::Tensor& images, std::int64_t side, Interpolation interpolation = Interpolation::bicubic);
// torchvision's center_crop for images that are large enough: offset round((H - height) / 2), half to even. Smaller images: InvariantError.
at::Tensor center_crop(const at::Tensor& images, Size size);
// Cuts the window out; parts outside the image repeat its edge pixels.
at::Tensor crop_edge_padded(const at::Tensor& images, const Window& window);
// Places the images in the middle of a canvas `factor` times as high and wide, filled with `value`.
at::Tensor pad_centered(const at::Tensor& images, double factor, double value);

// The window of the aspect of `size` that cover_crop cuts: the largest that fits into the image, centred on the focus box as far as the image
// allows. Where the focus box with `margin` (a fraction of its size on each side, cut at the image's border) does not fit, the window
// grows beyond the image until it does. Without a focus box: the image's centre.
Window cover_window(Size image, Size size, const std::optional<Box>& focus, double margin = 0.35);
// [3,H,W] -> [3,height,width]: cover_window, edges repeated outside the image, bicubic scaling (up too).
at::Tensor cover_crop(const at::Tensor& image, Size size, const std::optional<Box>& focus, double margin = 0.35);

// The size at which a photo is trained on: multiples of `multiple` in both directions, at most `max_area` pixels, never larger than the photo; of these the one
// that keeps most (largest product of kept share of the picture and reached share of the possible area). Throws UserError naming `name` when the photo is
// smaller than `multiple`.
Size bucket_size(Size image, std::int64_t max_area, std::int64_t multiple, const std::string& name);
// [3,H,W] -> [3,bucket]: the largest window of the bucket's aspect inside the image, around the focus box; no padding, no flip.
at::Tensor fit_bucket(const at::Tensor& image, Size bucket, const std::optional<Box>& focus);

}  // namespace magicid::media
