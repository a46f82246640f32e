#include "comm/launch.h"
#include "comm/mesh.h"
#include "comm/mpi.h"
#include "support/communicator_suite.h"

namespace magicid::comm {
namespace {

class MpiSuite : public ::testing::TestWithParam<testing::SuiteCase> {};
TEST_P(MpiSuite, Holds) {
  auto world = make_world(Backend::mpi);
  ASSERT_EQ(world->backend(), "mpi");
  ASSERT_EQ(world->size(), launched_processes().count);
  GetParam().run(*world);
}
// The same with messages cut into many pieces, as beyond 2^31 bytes.
TEST_P(MpiSuite, HoldsInPieces) {
  auto world = make_world(Backend::mpi);
  const auto before = set_mpi_piece_bytes(1000);
  GetParam().run(*world);
  set_mpi_piece_bytes(before);
}
INSTANTIATE_TEST_SUITE_P(Suite, MpiSuite, ::testing::ValuesIn(testing::communicator_suite()), [](const auto& info) { return info.param.name; });

TEST(MpiCommunicator, AllGatherRefusesRowsThatDiffer) {
  auto world = make_world(Backend::mpi);
  if (world->size() == 1) GTEST_SKIP() << "needs two ranks";
  const at::Tensor rows = world->rank() == 1 ? at::zeros({2, 3}) : at::zeros({2, 4});
  EXPECT_THROW(world->all_gather(rows), base::InvariantError);
  world->barrier();
}

TEST(MpiCommunicator, GroupsOfAMeshTalkAlongTheirAxis) {
  auto world = make_world(Backend::mpi);
  for (const int pair : {1, 2}) {
    for (const int sequence : valid_sequence_sizes(world->size(), pair)) {
      const Mesh mesh = Mesh::for_world(world->size(), pair, sequence);
      auto groups = make_groups(*world, mesh);
      const auto members = [&](Communicator& group) {
        const at::Tensor ranks = group.all_gather(at::tensor({world->rank()}, at::kInt));
        return std::vector<int>(ranks.const_data_ptr<int>(), ranks.const_data_ptr<int>() + ranks.numel());
      };
      EXPECT_EQ(members(*groups.sequence), mesh.sequence_group(world->rank()));
      EXPECT_EQ(members(*groups.pair), mesh.pair_group(world->rank()));
      EXPECT_EQ(groups.here, mesh.coordinates(world->rank()));
    }
  }
}

}  // namespace
}  // namespace magicid::comm
