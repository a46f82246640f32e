// A preference-training problem small enough for seconds and uneven in all that a mesh divides: 3 heads, 45 video tokens, 3 to 6 text tokens of 6 rows, an odd
// batch.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/local.h"
#include "comm/mesh.h"
#include "models/hunyuan_video/initialize.h"
#include "models/hunyuan_video/transformer.h"
#include "objectives/hpo.h"
#include "parallel/replicas.h"
#include "support/small_transformer.h"

namespace magicid::tests {

namespace hv = models::hunyuan_video;

inline hv::TransformerConfig small_hpo_config() {
  auto c = small_transformer_config();
  c.num_layers = c.num_single_layers = 2;
  return c;
}

inline at::Tensor wave(at::IntArrayRef shape, double phase, at::ScalarType dtype) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7 + phase).reshape(shape).to(dtype);
}

// Parameters in fp64 for fp64, else fp32. B is zero at the start of stage 1; a trained adapter's is not. `other` moves it a little.
inline models::generator::Adapter small_hpo_adapter(at::ScalarType dtype, double other = 0) {
  auto adapter = models::generator::Adapter::create(adaptable(small_hpo_config()), {.targets = {"*"}, .lora_rank = 3, .alpha = 3, .seed = 9});
  at::Tensor flat = adapter.flat_parameters();
  flat.add_(wave({flat.numel()}, 0, at::kFloat), 0.05).add_(wave({flat.numel()}, 1, at::kFloat), other);
  return adapter.frozen_copy({.dtype = dtype == at::kDouble ? at::kDouble : at::kFloat});
}

inline std::vector<objectives::HpoPair> small_hpo_pairs(at::ScalarType dtype) {
  const auto precise = dtype == at::kDouble ? at::kDouble : at::kFloat;
  std::vector<objectives::HpoPair> pairs;
  for (int i = 0; i < 4; ++i) {
    at::Tensor mask = at::zeros({1, 6}, at::kLong);
    mask.narrow(1, 0, 3 + i).fill_(1);
    pairs.push_back(
        {.winner = wave({1, 4, 3, 6, 10}, i, precise),
         .loser = wave({1, 4, 3, 6, 10}, 2.3 * i + 0.5, precise),
         .condition = {{{"prompt_embeds", wave({1, 6, 24}, i, precise)}, {"pooled_prompt_embeds", wave({1, 12}, i, precise)}, {"prompt_attention_mask", mask}}},
         .kind = i % 2 ? preference::PairKind::dynamic : preference::PairKind::identity});
  }
  return pairs;
}

struct HpoOutcome {
  std::vector<double> figures;                  // means over the global batch, as a step logs them
  std::vector<double> first_losses;             // of each sample of this replica
  std::map<std::string, at::Tensor> gradients;  // by name, divided by the global batch
};

struct SmallHpoOptions {
  at::ScalarType dtype = at::kFloat;
  std::int64_t global_batch = 5;
  double policy_moved = 0.03;  // 0: the policy is its reference
  double supervised = 0;
  models::generator::RecomputePlan recompute;
};

// One step's loss and gradient on `mesh`. Collective over `world`.
inline HpoOutcome small_hpo_step(comm::Communicator& world, const comm::Mesh& mesh, const SmallHpoOptions& options) {
  auto groups = comm::make_groups(world, mesh);
  parallel::SampleRanks ranks(groups);
  const auto config = small_hpo_config();
  const auto transformer =
      hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = options.dtype}));
  auto policy = small_hpo_adapter(options.dtype, options.policy_moved);
  const auto reference = small_hpo_adapter(options.dtype);
  objectives::HpoOptions hpo;
  hpo.share_dynamic = 0.5;  // both kinds in a few samples
  hpo.beta = 30;
  hpo.dynamic_supervised_weight = options.supervised;
  objectives::Hpo objective(transformer, {policy, &reference}, small_hpo_pairs(options.dtype), hpo, {.seed = 1, .shift = 7},
                            {.ranks = &ranks, .recompute = options.recompute});

  HpoOutcome outcome;
  at::Tensor gradient = objective.gradient();
  gradient.zero_();
  at::Tensor sums = at::zeros({static_cast<std::int64_t>(objective.metric_names().size())}, at::kDouble);
  for (std::int64_t slot = groups.here.replica; slot < options.global_batch; slot += mesh.shape().replica) {
    const c10::AutoGradMode grad(true);
    const auto figures = objective.accumulate(3, slot, options.global_batch);
    outcome.first_losses.push_back(figures[0]);
    const c10::AutoGradMode no_grad(false);
    if (groups.here.pair == 0 && groups.here.sequence == 0)
      for (std::size_t i = 0; i < figures.size(); ++i) sums[static_cast<std::int64_t>(i)] += figures[i];
  }
  world.all_reduce(sums);
  sums /= static_cast<double>(options.global_batch);
  outcome.figures.assign(sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel());
  parallel::reduce_gradient(world, gradient, options.global_batch);
  std::int64_t offset = 0;
  for (const auto& m : policy.modules()) {
    for (const auto& [suffix, rows, columns] : {std::tuple(".lora_A.weight", m.rank, m.in), std::tuple(".lora_B.weight", m.out, m.rank)}) {
      outcome.gradients[m.name + suffix] = gradient.narrow(0, offset, rows * columns).view({rows, columns}).clone();
      offset += rows * columns;
    }
  }
  return outcome;
}

inline HpoOutcome small_hpo_on_one_rank(const SmallHpoOptions& options) {
  auto alone = comm::make_local_communicator();
  return small_hpo_step(*alone, comm::Mesh({}), options);
}

// The largest relative difference of any figure that is not zero and of any gradient by name; `where` names it.
inline double largest_difference(const HpoOutcome& a, const HpoOutcome& b, std::string& where) {
  double largest = 0;
  const auto seen = [&](double value, const std::string& name) {
    if (std::isnan(value)) value = std::numeric_limits<double>::infinity();  // which no later value replaces
    if (value > largest) largest = value, where = name;
  };
  for (std::size_t i = 0; i < b.figures.size(); ++i) {
    const bool error_or_loss = i == 0 || (i >= 7 && i <= 10);  // margins are small differences of errors
    if (error_or_loss) seen(std::abs(a.figures.at(i) - b.figures[i]) / std::abs(b.figures[i]), "figure " + std::to_string(i));
  }
  for (const auto& [name, gradient] : b.gradients) seen(((a.gradients.at(name) - gradient).abs().max() / gradient.abs().max()).item<double>(), name);
  return largest;
}

// Every factorisation of `world_size` into replica x pair x sequence.
inline std::vector<comm::Mesh> factorisations(int world_size) {
  std::vector<comm::Mesh> meshes;
  for (const int pair : {1, 2})
    for (const int sequence : comm::valid_sequence_sizes(world_size, pair)) meshes.push_back(comm::Mesh::for_world(world_size, pair, sequence));
  return meshes;
}

}  // namespace magicid::tests
