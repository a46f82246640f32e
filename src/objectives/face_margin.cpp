#include "objectives/face_margin.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/one_hot.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>

#include "base/errors.h"
#include "base/random.h"

namespace magicid::objectives {
namespace {

constexpr const char* centres_prefix = "classes.";
constexpr const char* centres_name = "classes.weight";

// Rows of length 1; differentiable at 0.
at::Tensor unit_length(const at::Tensor& x) { return x / (x.square().sum(-1, /*keepdim=*/true) + 1e-12).sqrt(); }

bool is_statistic(const std::string& name) {
  return name.ends_with(".running_mean") || name.ends_with(".running_var") || name.ends_with(".num_batches_tracked");
}

}  // namespace

storage::NamedTensors face_margin_tensors(const storage::NamedTensors& initial, std::int64_t people, std::int64_t embedding_size, std::uint64_t seed) {
  storage::NamedTensors tensors;
  for (const auto& [name, tensor] : initial)
    if (!is_statistic(name)) tensors[name] = tensor;
  at::Tensor centres = at::empty({people, embedding_size}, at::kFloat);
  base::CounterRandom(seed, "face-class-centres").normal(std::span<float>(centres.data_ptr<float>(), static_cast<std::size_t>(centres.numel())), 0);
  // Short rows, so that the optimizer's steps can still turn them.
  tensors[centres_name] = unit_length(centres);
  return tensors;
}

FaceMargin::FaceMargin(models::vision::FaceEmbedderConfig config, models::nn::Parameters& parameters, at::ScalarType dtype, FaceBatches batches,
                       const FaceMarginLoss& loss)
    : config_(std::move(config)), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)), loss_(loss) {}

models::vision::FaceEmbedder FaceMargin::network(at::ScalarType dtype, models::vision::BatchStatistics* statistics) const {
  const auto weights = parameters_.weights(dtype);
  weights.ignore(centres_prefix);
  return models::vision::FaceEmbedder::from_weights(weights, config_, {.training = true, .statistics = statistics});
}

std::vector<double> FaceMargin::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto device = parameters_.values().device();
  const at::Tensor people = batch.people.to(device);
  // Channels last: convolutions and norms of narrow networks run twice as fast on CPUs.
  const at::Tensor embeddings = network(dtype_, nullptr).embed(batch.faces.to(device).contiguous(at::MemoryFormat::ChannelsLast));
  const at::Tensor& centres = parameters_.at(centres_name);
  const at::Tensor cosines = at::matmul(unit_length(embeddings), unit_length(centres).t());
  const double margin = loss_.margin * (loss_.margin_steps > 0 ? std::min(1.0, static_cast<double>(step) / static_cast<double>(loss_.margin_steps)) : 1.0);
  const at::Tensor own = at::one_hot(people, centres.size(0)).to(at::kFloat);
  const at::Tensor loss = at::cross_entropy_loss((cosines - own * margin) * loss_.scale, people);
  loss.backward();
  const double accuracy = cosines.detach().argmax(1).eq(people).to(at::kFloat).mean().item<double>();
  return {loss.item<double>(), accuracy, (cosines.detach() * own).sum(1).mean().item<double>()};
}

storage::NamedTensors FaceMargin::trained(const std::vector<at::Tensor>& faces) const {
  base::check_invariant(!faces.empty(), "population statistics need faces");
  const c10::AutoGradMode no_grad(false);
  models::vision::BatchStatistics statistics;
  const auto embedder = network(at::kFloat, &statistics);
  for (const at::Tensor& batch : faces) embedder.embed(batch.to(parameters_.values().device()).contiguous(at::MemoryFormat::ChannelsLast));
  storage::NamedTensors tensors = statistics.population();
  for (const auto& [name, tensor] : parameters_.named_tensors())
    if (name != centres_name) tensors[name] = tensor;
  return tensors;
}

}  // namespace magicid::objectives
