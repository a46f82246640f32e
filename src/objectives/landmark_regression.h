// Training of the landmark detector: is there a face, and where are its points.
// Sources: Sun et al., "Integral Human Pose Regression" (arXiv:1711.08229) for points as means of heatmaps; Nibali et al., "Numerical Coordinate
// Regression with Convolutional Neural Networks" (arXiv:1801.07372) for holding the heatmaps' shape as well.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "models/vision/landmark_detector.h"
#include "training/objective.h"

namespace magicid::objectives {

struct LandmarkBatch {
  at::Tensor squares;  // [B,3,S,S] in -1..1
  at::Tensor faces;    // [B] float: 1 where a face is to be found, 0 where none is
  at::Tensor points;   // [B,7,2] float, positions in the square (LandmarkDetector::Output::points); any finite numbers where there is no face
};
// The batch of one slot of one step; a function of its arguments alone.
using LandmarkBatches = std::function<LandmarkBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

class LandmarkRegression : public training::Objective {
 public:
  // `parameters` holds the network's tensors and must outlive the objective; the network computes in `dtype`.
  LandmarkRegression(models::vision::LandmarkDetectorConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, LandmarkBatches batches);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  // score: cross-entropy of the face score; heatmap: cross-entropy with Gaussians of one cell around the points, less its least possible value;
  // distance: mean distance of the points in pixels of the square (0 in a batch without faces); accuracy of the score at one half.
  std::vector<std::string> metric_names() const override { return {"loss", "score", "heatmap", "distance", "accuracy"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  models::vision::LandmarkDetectorConfig config_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  LandmarkBatches batches_;
};

}  // namespace magicid::objectives
