#include "objectives/flow_sequence.h"

#include <ATen/TensorOperators.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "base/errors.h"
#include "models/vision/optical_flow.h"

namespace magicid::objectives {
namespace {

at::Tensor lengths(const at::Tensor& flow) { return flow.square().sum(1).sqrt(); }  // [B,H,W]

// Mean of x [B,H,W] where `mask` is 1; 0 without such a pixel.
at::Tensor masked_mean(const at::Tensor& x, const at::Tensor& mask) { return (x * mask).sum() / mask.sum().clamp_min(1); }

}  // namespace

at::Tensor flow_sequence_loss(const std::vector<at::Tensor>& flows, const at::Tensor& truth, const FlowLoss& options) {
  base::check_invariant(!flows.empty() && truth.dim() == 4 && truth.size(1) == 2, "flow loss needs at least one flow and a truth [B,2,H,W]");
  const at::Tensor moving = (lengths(truth) >= options.moving_from).to(at::kFloat);
  at::Tensor loss;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    base::check_invariant(flows[i].sizes() == truth.sizes(), "a flow ", flows[i].sizes(), " beside a truth ", truth.sizes());
    const at::Tensor error = (flows[i] - truth).abs().sum(1);
    const at::Tensor term =
        (error.mean() + masked_mean(error, moving) * options.moving_weight) * std::pow(options.gamma, static_cast<double>(flows.size() - 1 - i));
    loss = loss.defined() ? loss + term : term;
  }
  return loss;
}

FlowSequence::FlowSequence(std::string architecture, models::nn::Parameters& parameters, FlowBatches batches, int updates, const FlowLoss& loss)
    : architecture_(std::move(architecture)), parameters_(parameters), batches_(std::move(batches)), updates_(updates), loss_(loss) {}

std::vector<double> FlowSequence::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto network = models::vision::Raft::from_weights(parameters_.weights(at::kFloat), architecture_);
  const at::Tensor truth = batch.flow.to(network.device);
  const auto flows = models::vision::estimate_flows(network, batch.first, batch.second, updates_);
  const at::Tensor loss = flow_sequence_loss(flows, truth, loss_);
  loss.backward();
  const c10::AutoGradMode no_grad(false);
  const at::Tensor error = lengths(flows.back() - truth), moving = (lengths(truth) >= loss_.moving_from).to(at::kFloat);
  return {loss.item<double>(), error.mean().item<double>(), masked_mean(error, moving).item<double>(), lengths(truth).mean().item<double>()};
}

}  // namespace magicid::objectives
