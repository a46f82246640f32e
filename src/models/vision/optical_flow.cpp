#include "models/vision/optical_flow.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/replication_pad2d.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"

namespace magicid::models::vision {
namespace {

std::int64_t pairs_at_once(std::int64_t height, std::int64_t width) {
  const double positions = static_cast<double>(height / 8) * static_cast<double>(width / 8);
  const double bytes = 4.0 * 4.0 / 3.0 * positions * positions, limit = 2.0 * 1024 * 1024 * 1024;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(limit / bytes));
}

// How frames of a size are brought to what the network takes, and its flows back.
struct Scaling {
  std::int64_t height, width, h, w, pad_h, pad_w, top, left;
  at::TensorOptions options;

  Scaling(std::int64_t frame_height, std::int64_t frame_width, c10::Device device)
      : height(frame_height), width(frame_width), options(at::TensorOptions().dtype(at::kFloat).device(device)) {
    const std::int64_t shorter = std::min(height, width);
    const double factor = shorter < raft_minimum_size ? static_cast<double>(raft_minimum_size) / static_cast<double>(shorter) : 1.0;
    const auto scaled = [&](std::int64_t side) { return std::max<std::int64_t>(1, std::llround(static_cast<double>(side) * factor)); };
    h = scaled(height), w = scaled(width);
    pad_h = (8 - h % 8) % 8, pad_w = (8 - w % 8) % 8, top = pad_h / 2, left = pad_w / 2;
  }

  bool resizes() const { return h != height || w != width; }

  at::Tensor prepared(const at::Tensor& images) const {
    at::Tensor x = images.to(options);
    if (resizes()) x = at::upsample_bilinear2d(x, {h, w}, /*align_corners=*/false);
    return pad_h || pad_w ? at::replication_pad2d(x, {left, pad_w - left, top, pad_h - top}) : x;
  }

  at::Tensor restored(at::Tensor flow) const {
    flow = flow.slice(2, top, top + h).slice(3, left, left + w);
    if (!resizes()) return flow.contiguous();
    flow = at::upsample_bilinear2d(flow, {height, width}, /*align_corners=*/false);
    const at::Tensor back = at::tensor({static_cast<double>(width) / static_cast<double>(w), static_cast<double>(height) / static_cast<double>(h)}, options);
    return flow * back.view({1, 2, 1, 1});
  }
};

void check_images(const at::Tensor& image1, const at::Tensor& image2) {
  base::check_invariant(image1.dim() == 4 && image1.size(1) == 3 && image1.size(2) > 0 && image1.size(3) > 0 && image1.sizes() == image2.sizes(),
                        "images have the shapes ", image1.sizes(), " and ", image2.sizes(), "; the same [N,3,H,W] was expected");
}

}  // namespace

at::Tensor estimate_flow(const Raft& network, const at::Tensor& image1, const at::Tensor& image2, int updates) {
  check_images(image1, image2);
  const at::NoGradGuard no_gradient;
  const std::int64_t n = image1.size(0);
  const Scaling scaling(image1.size(2), image1.size(3), network.device);
  std::vector<at::Tensor> parts;
  const std::int64_t step = pairs_at_once(scaling.h + scaling.pad_h, scaling.w + scaling.pad_w);
  for (std::int64_t first = 0; first < n; first += step) {
    const std::int64_t last = std::min(n, first + step);
    parts.push_back(scaling.restored(network.flow(scaling.prepared(image1.slice(0, first, last)), scaling.prepared(image2.slice(0, first, last)), updates)));
  }
  return parts.empty() ? at::zeros({0, 2, scaling.height, scaling.width}, scaling.options) : at::cat(parts);
}

std::vector<at::Tensor> estimate_flows(const Raft& network, const at::Tensor& image1, const at::Tensor& image2, int updates) {
  check_images(image1, image2);
  const Scaling scaling(image1.size(2), image1.size(3), network.device);
  std::vector<at::Tensor> flows = network.flows(scaling.prepared(image1), scaling.prepared(image2), updates);
  for (at::Tensor& flow : flows) flow = scaling.restored(flow);
  return flows;
}

}  // namespace magicid::models::vision
