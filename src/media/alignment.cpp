#include "media/alignment.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/grid_sampler_2d.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"

namespace magicid::media {

double Similarity::scale() const { return std::hypot(a, b); }

Similarity Similarity::inverse() const {
  const double squared = a * a + b * b;
  base::check_invariant(squared > 0, "a similarity without scale has no inverse");
  const double ia = a / squared, ib = -b / squared;
  return {ia, ib, -(ia * tx - ib * ty), -(ib * tx + ia * ty)};
}

Similarity fit_similarity(std::span<const Point> from, std::span<const Point> to) {
  base::check_invariant(from.size() == to.size() && from.size() >= 2, "fit_similarity needs two equal lists of at least two points");
  const auto count = static_cast<double>(from.size());
  Point mean_from, mean_to;
  for (std::size_t i = 0; i < from.size(); ++i) {
    mean_from.x += from[i].x / count, mean_from.y += from[i].y / count;
    mean_to.x += to[i].x / count, mean_to.y += to[i].y / count;
  }
  // In the plane the singular value decomposition has a closed form: with the points as complex numbers the best similarity without
  // reflection is sum(conj(f) t) / sum(|f|^2).
  double spread = 0, real = 0, imaginary = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const double fx = from[i].x - mean_from.x, fy = from[i].y - mean_from.y, gx = to[i].x - mean_to.x, gy = to[i].y - mean_to.y;
    spread += fx * fx + fy * fy;
    real += fx * gx + fy * gy;
    imaginary += fx * gy - fy * gx;
  }
  base::check_invariant(spread > 0, "fit_similarity: all points are the same");
  Similarity fit{real / spread, imaginary / spread};
  fit.tx = mean_to.x - (fit.a * mean_from.x - fit.b * mean_from.y);
  fit.ty = mean_to.y - (fit.b * mean_from.x + fit.a * mean_from.y);
  return fit;
}

Similarity alignment_of(const FaceDetection& face) {
  if (face.landmarks) return fit_similarity(*face.landmarks, arcface_template);
  // Box coordinates have pixel centres at halves, template coordinates at integers.
  if (face.whole_image) {
    const double scale = 112 / std::min(face.box.width, face.box.height);
    return {scale, 0, 55.5 - scale * (face.box.center_x() - 0.5), 55.5 - scale * (face.box.center_y() - 0.5)};
  }
  const double scale = template_box_side / std::sqrt(face.box.area());
  return {scale, 0, template_box_center.x - scale * (face.box.center_x() - 0.5), template_box_center.y - scale * (face.box.center_y() - 0.5)};
}

at::Tensor warp_similarity(const at::Tensor& image, const Similarity& to_crop, std::int64_t size) {
  base::check_invariant(image.dim() == 3 && image.size(0) == 3 && size > 0, "warp_similarity needs [3,H,W]");
  at::Tensor source = image.unsqueeze(0);
  Similarity to_image = to_crop.inverse();
  const auto block = std::min({static_cast<std::int64_t>(to_image.scale()), image.size(1), image.size(2)});
  if (block >= 2) {
    source = at::avg_pool2d(source, {block, block});
    const double factor = 1.0 / static_cast<double>(block), shift = (static_cast<double>(block) - 1) / 2;
    to_image = {to_image.a * factor, to_image.b * factor, (to_image.tx - shift) * factor, (to_image.ty - shift) * factor};
  }
  const auto options = at::TensorOptions(image.device()).dtype(at::kDouble);
  const at::Tensor x = at::arange(size, options).unsqueeze(0), y = at::arange(size, options).unsqueeze(1);
  // Pixel index to grid_sampler's -1..1, aligned to the outer edges (align_corners false).
  const auto normalised = [](const at::Tensor& index, std::int64_t length) { return (2 * index + 1) / static_cast<double>(length) - 1; };
  const at::Tensor grid_x = normalised(to_image.a * x - to_image.b * y + to_image.tx, source.size(3));
  const at::Tensor grid_y = normalised(to_image.b * x + to_image.a * y + to_image.ty, source.size(2));
  const at::Tensor grid = at::stack({grid_x, grid_y}, -1).unsqueeze(0).to(image.scalar_type());
  return at::grid_sampler_2d(source, grid, /*bilinear*/ 0, /*zeros*/ 0, /*align_corners=*/false).squeeze(0);
}

at::Tensor align_face(const at::Tensor& image, const FaceDetection& face, std::int64_t size) {
  Similarity to_crop = alignment_of(face);
  if (size != 112) {  // about the crop's outer edge, so that the same part of the face is seen
    const double factor = static_cast<double>(size) / 112, shift = (factor - 1) / 2;
    to_crop = {to_crop.a * factor, to_crop.b * factor, to_crop.tx * factor + shift, to_crop.ty * factor + shift};
  }
  return warp_similarity(image, to_crop, size);
}

}  // namespace magicid::media
