// Training of RAFT on exact flow: the error of every update's flow, later ones counting more.
// Source: Teed and Deng, "RAFT" (arXiv:2003.12039), equation 7; princeton-vl/RAFT train.py (sequence_loss).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "training/objective.h"

namespace magicid::objectives {

struct FlowLoss {
  double gamma = 0.8;  // an update's weight against the next one's
  double moving_weight =
      1;  // of the mean over moving pixels, beside the mean over all: most pixels of a picture stand still, and a network that says so of all is hard to leave
  double moving_from = 0.25;  // pixels; at least this far moves
};

// flows: n of [B,2,H,W]; truth [B,2,H,W], pixels. sum over i of gamma^(n-1-i) * (mean |flow_i - truth| + moving_weight * its mean over moving pixels), where
// |.| is the sum over both channels. Differentiable. Throws InvariantError for other shapes.
at::Tensor flow_sequence_loss(const std::vector<at::Tensor>& flows, const at::Tensor& truth, const FlowLoss& options);

struct FlowBatch {
  at::Tensor first, second;  // [B,3,H,W] RGB in -1..1
  at::Tensor flow;           // [B,2,H,W] pixels
};
// The batch of one slot of one step; a function of its arguments alone.
using FlowBatches = std::function<FlowBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

class FlowSequence : public training::Objective {
 public:
  // `parameters` holds the tensors of RAFT's `architecture` and must outlive the objective. Frames of any size: they are scaled as estimate_flow does.
  FlowSequence(std::string architecture, models::nn::Parameters& parameters, FlowBatches batches, int updates, const FlowLoss& loss);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  // Mean distance of the last flow from the truth, over all and over moving pixels, and the truth's own mean length, which a network without movement has as
  // its error.
  std::vector<std::string> metric_names() const override { return {"loss", "end_point_error", "moving_error", "zero_error"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  std::string architecture_;
  models::nn::Parameters& parameters_;
  FlowBatches batches_;
  int updates_;
  FlowLoss loss_;
};

}  // namespace magicid::objectives
