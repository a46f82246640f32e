#include "session/memory.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "storage/safetensors.h"
#include "support/temporary_folder.h"

namespace magicid::session {
namespace {

TEST(Memory, OfTheMachineIsSharedByTheRanksOfANode) {
  EXPECT_GT(host_memory(), 1e8);
  EXPECT_LT(host_memory(), 1e15);
  EXPECT_DOUBLE_EQ(memory_of({}, 4), host_memory() / 4);
}

TEST(Memory, WeightsAreCountedInTheDtypeTheyAreComputedIn) {
  tests::TemporaryFolder folder;
  storage::write_safetensors(folder / "a-00001-of-00002.safetensors", {{"w", at::zeros({3, 5})}, {"b", at::zeros({7}, at::kHalf)}});
  storage::write_safetensors(folder / "a-00002-of-00002.safetensors", {{"scalar", at::zeros({})}});
  EXPECT_EQ(weights_in_memory(folder.path(), at::kFloat), 4 * 23);
  EXPECT_EQ(weights_in_memory(folder.path(), at::kBFloat16), 2 * 23);
  EXPECT_EQ(weights_in_memory(folder / "absent", at::kFloat), 0);
}

}  // namespace
}  // namespace magicid::session
