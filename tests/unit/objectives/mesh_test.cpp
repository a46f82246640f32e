// HPO on every mesh of 1, 2 and 4 ranks against one rank: losses and every gradient by name; log 2 at the start; recomputation; the step loop.

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/errors.h"
#include "comm/threads.h"
#include "objectives/reconstruction.h"
#include "support/small_hpo.h"
#include "training/step_loop.h"

namespace magicid::objectives {
namespace {

using namespace magicid::tests;

std::vector<comm::Mesh> all_meshes() {
  std::vector<comm::Mesh> meshes;
  for (const int size : {1, 2, 4})
    for (auto& mesh : factorisations(size)) meshes.push_back(mesh);
  return meshes;
}

void expect_equal_to_one_rank(const SmallHpoOptions& options, double tolerance, const std::vector<comm::Mesh>& meshes = all_meshes()) {
  const HpoOutcome one = small_hpo_on_one_rank(options);
  ASSERT_GT(one.gradients.size(), 50u);
  for (const auto& [name, gradient] : one.gradients) ASSERT_GT(gradient.abs().max().item<double>(), 0) << name;
  for (const auto& mesh : meshes) {
    comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
      const HpoOutcome outcome = small_hpo_step(world, mesh, options);
      std::string where;
      const double difference = largest_difference(outcome, one, where);
      EXPECT_LT(difference, tolerance) << mesh.describe() << ", rank " << world.rank() << ": " << where;
      if (world.rank() == 0) ::testing::Test::RecordProperty(mesh.describe(), std::to_string(difference * 1e16));
    });
  }
}

TEST(HpoOnAMesh, EqualsOneRankInDoublePrecision) { expect_equal_to_one_rank({.dtype = at::kDouble}, 1e-10); }
TEST(HpoOnAMesh, EqualsOneRankInSinglePrecision) { expect_equal_to_one_rank({.dtype = at::kFloat}, 1e-5); }
TEST(HpoOnAMesh, EqualsOneRankWithASupervisedTerm) {
  expect_equal_to_one_rank({.dtype = at::kDouble, .global_batch = 2, .supervised = 0.3}, 1e-10,
                           {comm::Mesh({.replica = 2}), comm::Mesh({.replica = 1, .pair = 2, .sequence = 2})});
}

// What every mesh is compared with: the whole loss of a sample, supervised term and all, moved along a direction of its own in each tensor of the adapter.
TEST(HpoOnOneRank, GradientEqualsFiniteDifferencesOfEachTensor) {
  const auto config = small_hpo_config();
  const auto transformer =
      hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = at::kDouble}));
  auto policy = small_hpo_adapter(at::kDouble, 0.03);
  const auto reference = small_hpo_adapter(at::kDouble);
  Hpo objective(transformer, {policy, &reference}, small_hpo_pairs(at::kDouble),
                {.beta = 30, .share_dynamic = 0.5, .identity_supervised_weight = 0.2, .dynamic_supervised_weight = 0.3}, {.seed = 1, .shift = 7});
  const auto loss = [&] {
    objective.gradient().zero_();
    return objective.accumulate(2, 1, 3)[0];
  };
  loss();
  const at::Tensor gradient = objective.gradient().clone();
  at::Tensor flat = policy.flat_parameters();
  const double h = 1e-5;
  std::int64_t offset = 0;
  for (const auto& m : policy.modules()) {
    for (const std::int64_t size : {m.rank * m.in, m.out * m.rank}) {
      const at::Tensor direction = wave({size}, static_cast<double>(offset), at::kDouble);
      const auto moved = [&](double by) {
        const c10::AutoGradMode no_grad(false);
        flat.narrow(0, offset, size).add_(direction, by);
      };
      const auto loss_at = [&](double by) {
        moved(by);
        const c10::AutoGradMode grad(true);
        const double value = loss();
        moved(-by);
        return value;
      };
      const double slope = (loss_at(h) - loss_at(-h)) / (2 * h);
      const at::Tensor part = gradient.narrow(0, offset, size);
      const double scale = (part.norm() * direction.norm()).item<double>();
      ASSERT_GT(scale, 0) << m.name;
      EXPECT_NEAR(slope, part.dot(direction).item<double>(), 1e-6 * scale + 1e-9) << m.name << " at " << offset;
      offset += size;
    }
  }
  EXPECT_EQ(offset, gradient.numel());
}

TEST(HpoOnAMesh, TheFirstLossIsExactlyLogTwo) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& mesh : all_meshes()) {
      comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
        const HpoOutcome outcome = small_hpo_step(world, mesh, {.dtype = dtype, .global_batch = mesh.shape().replica, .policy_moved = 0});
        ASSERT_FALSE(outcome.first_losses.empty());
        for (const double loss : outcome.first_losses) EXPECT_EQ(loss, std::numbers::ln2) << mesh.describe() << ' ' << dtype;
      });
    }
  }
}

TEST(HpoOnAMesh, RecomputationChangesNoBit) {
  const auto plan = models::generator::RecomputePlan::parse("attention_kept:1,full:2,attention_kept:1");
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& mesh : {comm::Mesh({}), comm::Mesh({.replica = 1, .pair = 1, .sequence = 2}), comm::Mesh({.replica = 1, .pair = 2, .sequence = 2})}) {
      comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
        const HpoOutcome plain = small_hpo_step(world, mesh, {.dtype = dtype, .global_batch = 2});
        const HpoOutcome again = small_hpo_step(world, mesh, {.dtype = dtype, .global_batch = 2, .recompute = plan});
        EXPECT_EQ(plain.figures, again.figures);
        for (const auto& [name, gradient] : plain.gradients) EXPECT_TRUE(at::equal(gradient, again.gradients.at(name))) << mesh.describe() << ' ' << name;
      });
    }
  }
}

TEST(HpoOnAMesh, ReplicasBeyondTheBatchAndRanksOfASampleChangeNothing) {
  // In fp64: Adam's first steps are sign-like where a gradient is tiny, which would turn rounding into shares of the learning rate.
  const auto run = [](const comm::Mesh& mesh) {
    at::Tensor result;
    comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
      auto groups = comm::make_groups(world, mesh);
      parallel::SampleRanks ranks(groups);
      const auto config = small_hpo_config();
      const auto transformer =
          hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = at::kDouble}));
      auto policy = small_hpo_adapter(at::kDouble);
      const auto reference = small_hpo_adapter(at::kDouble);
      Hpo objective(transformer, {policy, &reference}, small_hpo_pairs(at::kDouble), {.beta = 30, .share_dynamic = 0.5}, {.seed = 1, .shift = 7},
                    {.ranks = &ranks});
      training::Options options;
      options.steps = 2, options.global_batch = 2, options.learning_rate = 1e-3, options.hash_check_every = 1;
      training::StepRecord first;
      training::run_steps("step", options, objective, world, mesh, {.record = [&](const training::StepRecord& r) {
                            if (r.step == 1) first = r;
                          }});
      if (world.rank() == 0) {
        EXPECT_EQ(first.metrics.at("loss"), std::numbers::ln2);
        EXPECT_EQ(first.metrics.at("dynamic_share"), 0.5);
        result = policy.flat_parameters().clone();
      }
    });
    return result;
  };
  const at::Tensor one = run(comm::Mesh({}));
  const auto difference = [&](const at::Tensor& other) { return ((other - one).abs().max() / one.abs().max()).item<double>(); };
  EXPECT_GT(difference(small_hpo_adapter(at::kDouble).flat_parameters()), 1e-4) << "the steps changed nothing";
  for (const auto& mesh : factorisations(4)) EXPECT_LT(difference(run(mesh)), 1e-8) << mesh.describe();
  EXPECT_TRUE(at::equal(run(comm::Mesh({.replica = 1, .pair = 2, .sequence = 2})), run(comm::Mesh({.replica = 1, .pair = 2, .sequence = 2}))));
}

TEST(ReconstructionOnAMesh, ASharedSequenceEqualsOneRank) {
  const auto run = [](const comm::Mesh& mesh) {
    at::Tensor result;
    double loss = 0;
    comm::run_threads(mesh.world_size(), [&](comm::Communicator& world) {
      auto groups = comm::make_groups(world, mesh);
      parallel::SampleRanks ranks(groups);
      const auto config = small_hpo_config();
      const auto transformer =
          hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = at::kDouble}));
      auto adapter = small_hpo_adapter(at::kDouble);
      std::vector<ReconstructionItem> items;
      for (auto& pair : small_hpo_pairs(at::kDouble)) items.push_back({pair.winner, pair.condition});
      const ReconstructionPrior prior{.items = {items[1]}, .weight = 0.5};
      Reconstruction objective(transformer, adapter, items, {.seed = 1, .shift = 3}, prior, {.ranks = &ranks});
      objective.gradient().zero_();
      const auto figures = objective.accumulate(0, 1, 2);
      at::Tensor gradient = objective.gradient();
      parallel::reduce_gradient(world, gradient, 1);
      if (world.rank() == 0) result = gradient.clone(), loss = figures[0];
    });
    return std::pair(result, loss);
  };
  const auto [one, loss] = run(comm::Mesh({}));
  for (const int size : {2, 3, 4}) {
    const auto [shared, shared_loss] = run(comm::Mesh({.sequence = size}));
    EXPECT_NEAR(shared_loss, loss, 1e-12 * loss);
    EXPECT_LT(((shared - one).abs().max() / one.abs().max()).item<double>(), 1e-11) << size;
  }
  comm::run_threads(2, [](comm::Communicator& world) {
    auto groups = comm::make_groups(world, comm::Mesh({.replica = 1, .pair = 2, .sequence = 1}));
    parallel::SampleRanks ranks(groups);
    const auto config = small_hpo_config();
    const auto transformer =
        hv::Transformer::load(config, models::nn::Weights::from_tensors(hv::initialize_transformer(config, 3), "test", {.dtype = at::kFloat}));
    auto adapter = small_hpo_adapter(at::kFloat);
    const auto pairs = small_hpo_pairs(at::kFloat);
    EXPECT_THROW(Reconstruction(transformer, adapter, {{pairs[0].winner, pairs[0].condition}}, {.seed = 1, .shift = 3}, {}, {.ranks = &ranks}),
                 base::InvariantError);
  });
}

}  // namespace
}  // namespace magicid::objectives
