// Training of a face embedder: every person of the training set is a class, and a face's embedding must be closer to its own class centre
// than to any other by a margin.
// Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition" (arXiv:1801.09414), equation 4.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "models/vision/face_embedder.h"
#include "storage/safetensors.h"
#include "training/objective.h"

namespace magicid::objectives {

struct FaceBatch {
  at::Tensor faces;   // [B,3,112,112] aligned, in -1..1
  at::Tensor people;  // [B] int64, rows of the class centres
};
// The batch of one slot of one step; a function of its arguments alone.
using FaceBatches = std::function<FaceBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

struct FaceMarginLoss {
  double scale = 32, margin = 0.3;
  std::int64_t margin_steps = 0;  // the margin grows from 0 to its value over so many steps
};

// What is trained: the tensors of `initial` without running statistics, and the class centres classes.weight [people, embedding_size], which
// stay behind when training ends.
storage::NamedTensors face_margin_tensors(const storage::NamedTensors& initial, std::int64_t people, std::int64_t embedding_size, std::uint64_t seed);

class FaceMargin : public training::Objective {
 public:
  // `parameters` holds face_margin_tensors and must outlive the objective; the network computes in `dtype`, its norms with the batch's
  // statistics.
  FaceMargin(models::vision::FaceEmbedderConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, FaceBatches batches,
             const FaceMarginLoss& loss);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  // accuracy: share of faces whose own class is the closest, without margin; cosine: with the own class.
  std::vector<std::string> metric_names() const override { return {"loss", "accuracy", "cosine"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

  // The network's tensors as its file holds them: with running statistics of the population that `faces` (each [B,3,112,112] in -1..1, two
  // faces or more) stand for. Without class centres. In float.
  storage::NamedTensors trained(const std::vector<at::Tensor>& faces) const;

 private:
  models::vision::FaceEmbedder network(at::ScalarType dtype, models::vision::BatchStatistics* statistics) const;

  models::vision::FaceEmbedderConfig config_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  FaceBatches batches_;
  FaceMarginLoss loss_;
};

}  // namespace magicid::objectives
