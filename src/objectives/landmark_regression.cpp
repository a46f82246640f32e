#include "objectives/landmark_regression.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/log_softmax.h>

#include <algorithm>

namespace magicid::objectives {
namespace {

// points [B,7,2] in pixels of the square -> log of Gaussians of one cell's deviation on the heatmaps' cells [B,7,M*M], normalised.
at::Tensor log_gaussians(const at::Tensor& points, std::int64_t cells) {
  const at::Tensor centre = at::arange(cells, points.options()) * 2 + 0.5;
  const auto along = [&](std::int64_t axis) { return ((points.select(2, axis).unsqueeze(-1) - centre) / 2).square() * -0.5; };
  return at::log_softmax((along(1).unsqueeze(-1) + along(0).unsqueeze(-2)).flatten(2), -1);
}

}  // namespace

LandmarkRegression::LandmarkRegression(models::vision::LandmarkDetectorConfig config, models::nn::Parameters& parameters, at::ScalarType dtype,
                                       LandmarkBatches batches)
    : config_(config), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)) {}

std::vector<double> LandmarkRegression::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto device = parameters_.values().device();
  const at::Tensor faces = batch.faces.to(device), points = batch.points.to(device);
  const auto network = models::vision::LandmarkDetector::from_weights(parameters_.weights(dtype_), config_);
  const auto output = network(batch.squares.to(device).contiguous(at::MemoryFormat::ChannelsLast));

  const at::Tensor score = at::binary_cross_entropy_with_logits(output.score, faces);
  // Means over the faces alone.
  const at::Tensor share = faces / std::max(faces.sum().item<double>(), 1.0);
  const at::Tensor wanted = log_gaussians(points, output.heatmaps.size(3));
  const at::Tensor divergence = (wanted.exp() * (wanted - at::log_softmax(output.heatmaps.flatten(2), -1))).sum(-1).mean(-1);
  const at::Tensor heatmap = (divergence * share).sum();
  const at::Tensor distances = ((output.points - points).square().sum(-1) + 1e-4).sqrt();
  const at::Tensor distance = (distances.mean(-1) * share).sum();
  const at::Tensor loss = score + heatmap * 0.5 + distance * 0.5;
  loss.backward();
  const double accuracy = output.score.detach().gt(0).eq(faces.gt(0.5)).to(at::kFloat).mean().item<double>();
  return {loss.item<double>(), score.item<double>(), heatmap.item<double>(), distance.item<double>(), accuracy};
}

}  // namespace magicid::objectives
