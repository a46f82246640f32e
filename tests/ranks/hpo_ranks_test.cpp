// HPO over MPI on every mesh of this many ranks, against the same step on one rank.
#include <gtest/gtest.h>

#include <numbers>

#include "comm/launch.h"
#include "support/small_hpo.h"

namespace magicid::tests {
namespace {

TEST(HpoOverMpi, EveryMeshEqualsOneRank) {
  auto world = comm::make_world(comm::Backend::mpi);
  for (const auto& [options, tolerance] : {std::pair<SmallHpoOptions, double>{{.dtype = at::kDouble}, 1e-10}, {{.dtype = at::kFloat}, 1e-5}}) {
    const HpoOutcome one = small_hpo_on_one_rank(options);
    for (const auto& mesh : factorisations(world->size())) {
      const HpoOutcome outcome = small_hpo_step(*world, mesh, options);
      std::string where;
      EXPECT_LT(largest_difference(outcome, one, where), tolerance) << mesh.describe() << ": " << where;
    }
  }
}

TEST(HpoOverMpi, BrainFloatStartsAtLogTwo) {
  auto world = comm::make_world(comm::Backend::mpi);
  for (const auto& mesh : factorisations(world->size())) {
    const HpoOutcome outcome =
        small_hpo_step(*world, mesh, {.dtype = at::kBFloat16, .policy_moved = 0, .recompute = models::generator::Recompute::attention_kept});
    for (const double loss : outcome.first_losses) EXPECT_EQ(loss, std::numbers::ln2) << mesh.describe();
  }
}

}  // namespace
}  // namespace magicid::tests
