#include "parallel/replicas.h"

#include "base/errors.h"
#include "comm/local.h"
#include "comm/threads.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

namespace magicid::parallel {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ReduceGradient, DividesByTheSamplesNotByTheRanks) {
  // 7 samples over 3 ranks: 3, 3 and 1. The mean over samples, whoever held them.
  const at::Tensor samples = at::arange(7 * 5, at::kDouble).view({7, 5}).sin();
  comm::run_threads(3, [&](comm::Communicator& world) {
    const std::int64_t first[] = {0, 3, 6, 7};
    at::Tensor gradient = samples.slice(0, first[world.rank()], first[world.rank() + 1]).sum(0);
    reduce_gradient(world, gradient, 7);
    EXPECT_TRUE(at::allclose(gradient, samples.mean(0), 1e-14, 1e-15));
  });
}

TEST(ReduceGradient, OneRankOnlyDivides) {
  auto local = comm::make_local_communicator();
  at::Tensor gradient = at::full({4}, 6.0F);
  reduce_gradient(*local, gradient, 3);
  EXPECT_TRUE(at::equal(gradient, at::full({4}, 2.0F)));
  EXPECT_THROW(reduce_gradient(*local, gradient, 0), base::InvariantError);
}

TEST(BroadcastAdapter, EveryRankGetsRank0s) {
  comm::run_threads(4, [](comm::Communicator& world) {
    at::Tensor adapter = at::full({9}, static_cast<float>(world.rank()) + 0.5F);
    broadcast_adapter(world, adapter);
    EXPECT_TRUE(at::equal(adapter, at::full({9}, 0.5F)));
  });
}

TEST(HashOf, SeesValuesShapeAndType) {
  const at::Tensor tensor = at::arange(6, at::kFloat);
  EXPECT_EQ(hash_of(tensor), hash_of(tensor.clone()));
  EXPECT_EQ(hash_of(tensor.view({2, 3}).t()), hash_of(tensor.view({2, 3}).t().contiguous()));
  EXPECT_NE(hash_of(tensor), hash_of(tensor.view({2, 3})));
  EXPECT_NE(hash_of(tensor), hash_of(tensor.view(at::kInt)));
  at::Tensor other = tensor.clone();
  other[3] = std::nextafter(3.0F, 4.0F);
  EXPECT_NE(hash_of(tensor), hash_of(other));
}

TEST(CheckSame, NamesTheRankThatDiffers) {
  comm::run_threads(4, [](comm::Communicator& world) {
    check_same_on_all_ranks(world, "the adapter", "abc");
    try {
      check_same_on_all_ranks(world, "the adapter after step 20", world.rank() == 2 ? "bad" : "good");
      ADD_FAILURE() << "rank " << world.rank() << " saw no difference";
    } catch (const base::PeerError& error) {
      EXPECT_THAT(error.what(), HasSubstr("the adapter after step 20 differs"));
      EXPECT_THAT(error.what(), HasSubstr("rank 2 (node "));
      EXPECT_THAT(error.what(), Not(HasSubstr("rank 0 (node ")));
    }
    world.barrier();
  });
}

}  // namespace
}  // namespace magicid::parallel
