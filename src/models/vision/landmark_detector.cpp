#include "models/vision/landmark_detector.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "models/nn/network_config.h"

namespace magicid::models::vision {

LandmarkDetectorConfig LandmarkDetectorConfig::from_json(const nn::NetworkConfig& json) {
  json.choice("architecture", {"landmark_detector"});
  LandmarkDetectorConfig config;
  config.image_size = json.size("image_size", config.image_size);
  config.border = json.size("border", config.border, 0);
  if (config.image_size % 8 != 0 || config.image_size - 2 * config.border < 8)
    json.refuse("image_size", "with a border of ", config.border, ", a multiple of 8 that leaves 8 pixels or more inside the border");
  config.channels = json.sizes("channels", config.channels);
  return config;
}

std::string LandmarkDetectorConfig::to_json() const {
  return nlohmann::json{{"architecture", "landmark_detector"}, {"image_size", image_size}, {"border", border}, {"channels", channels}}.dump(2) + "\n";
}

LandmarkDetector LandmarkDetector::load(const std::filesystem::path& folder, const nn::Placement& placement) {
  const auto config = LandmarkDetectorConfig::from_json(nn::NetworkConfig::open(folder / "config.json"));
  return from_weights(nn::Weights::open_folder(folder, placement), config);
}

LandmarkDetector LandmarkDetector::from_weights(const nn::Weights& weights, const LandmarkDetectorConfig& config) {
  const auto& [half, quarter, eighth] = config.channels;
  const auto conv3 = [&](const std::string& name, std::int64_t out, std::int64_t in, std::int64_t stride) {
    return load_convolution(weights, name, {.out = out, .in = in, .kernel = {3, 3}, .stride = {stride, stride}, .padding = {1, 1}}, true);
  };
  const auto conv1 = [&](const std::string& name, std::int64_t out, std::int64_t in) { return load_convolution(weights, name, {.out = out, .in = in}, true); };
  LandmarkDetector network;
  network.config = config;
  network.placement = weights.placement();
  const std::array<std::array<std::int64_t, 3>, 8> down{{{half, 3, 2},
                                                         {half, half, 1},
                                                         {quarter, half, 2},
                                                         {quarter, quarter, 1},
                                                         {eighth, quarter, 2},
                                                         {eighth, eighth, 1},
                                                         {eighth, eighth, 1},
                                                         {eighth, eighth, 1}}};
  for (std::size_t i = 0; i < down.size(); ++i) network.down[i] = conv3(base::concat("down.", i), down[i][0], down[i][1], down[i][2]);
  network.lateral4 = conv1("lateral4", quarter, eighth);
  network.merge4 = conv3("merge4", quarter, quarter, 1);
  network.lateral2 = conv1("lateral2", half, quarter);
  network.merge2 = conv3("merge2", half, half, 1);
  network.heat = conv1("heat", points, half);
  network.score = conv1("score", 1, 2 * eighth);
  weights.finish();
  return network;
}

LandmarkDetector::Output LandmarkDetector::operator()(const at::Tensor& squares) const {
  const std::int64_t side = config.image_size;
  base::check_invariant(squares.dim() == 4 && squares.size(1) == 3 && squares.size(2) == side && squares.size(3) == side, "pictures have the shape ",
                        squares.sizes(), "; [N,3,", side, ",", side, "] was expected");
  const auto twice = [](const at::Tensor& x) { return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}); };
  at::Tensor x = squares.to(placement.device, placement.dtype);
  at::Tensor at2, at4;
  for (std::size_t i = 0; i < down.size(); ++i) {
    // The last two are a residual block.
    x = i + 1 == down.size() ? x + down[i](x).relu() : down[i](x).relu();
    if (i == 1) at2 = x;
    if (i == 3) at4 = x;
  }
  const at::Tensor summary = at::cat({x.mean({2, 3}, /*keepdim=*/true), at::amax(x, {2, 3}, /*keepdim=*/true)}, 1);
  at4 = merge4(at4 + twice(lateral4(x))).relu();
  at2 = merge2(at2 + twice(lateral2(at4))).relu();

  Output output;
  output.score = score(summary).flatten().to(at::kFloat);
  output.heatmaps = heat(at2).to(at::kFloat).contiguous();
  const std::int64_t cells = output.heatmaps.size(3);
  const at::Tensor weight = at::softmax(output.heatmaps.flatten(2), -1).view_as(output.heatmaps);
  // Centres of cells that are two pixels wide.
  const at::Tensor centre = at::arange(cells, weight.options()) * 2 + 0.5;
  output.points = at::stack({(weight.sum(2) * centre).sum(-1), (weight.sum(3) * centre).sum(-1)}, -1);
  return output;
}

Letterbox letterbox(const at::Tensor& picture, const LandmarkDetectorConfig& config) {
  base::check_invariant(picture.dim() == 3 && picture.size(0) == 3, "a picture has the shape ", picture.sizes(), "; [3,H,W] was expected");
  const std::int64_t inside = config.image_size - 2 * config.border, height = picture.size(1), width = picture.size(2);
  const double scale = static_cast<double>(inside) / static_cast<double>(std::max(height, width));
  const auto fitted = [&](std::int64_t size) { return std::clamp<std::int64_t>(std::llround(scale * static_cast<double>(size)), 1, inside); };
  const std::int64_t h = fitted(height), w = fitted(width), top = (config.image_size - h) / 2, left = (config.image_size - w) / 2;
  Letterbox box;
  box.square = at::zeros({3, config.image_size, config.image_size}, picture.options().dtype(at::kFloat));
  const at::Tensor resized = at::_upsample_bilinear2d_aa(picture.to(at::kFloat).unsqueeze(0), {h, w}, /*align_corners=*/false)[0];
  box.square.narrow(1, top, h).narrow(2, left, w).copy_(resized * 2 - 1);
  box.scale_x = static_cast<double>(w) / static_cast<double>(width);
  box.scale_y = static_cast<double>(h) / static_cast<double>(height);
  // Pixel centres are integers on both sides.
  box.shift_x = static_cast<double>(left) + 0.5 * box.scale_x - 0.5;
  box.shift_y = static_cast<double>(top) + 0.5 * box.scale_y - 0.5;
  return box;
}

}  // namespace magicid::models::vision
