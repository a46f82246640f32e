#include "comm/mesh.h"

#include "base/errors.h"
#include "comm/threads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

namespace magicid::comm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void for_every_mesh_up_to_64(const std::function<void(const Mesh&)>& test) {
  for (int world = 1; world <= 64; ++world) {
    for (const int pair : {1, 2}) {
      for (int sequence = 1; sequence <= world; ++sequence) {
        if (world % (pair * sequence) == 0) test(Mesh::for_world(world, pair, sequence));
      }
    }
  }
}

TEST(Mesh, CoordinatesAndRanksAreOneToOne) {
  for_every_mesh_up_to_64([](const Mesh& mesh) {
    int rank = 0;
    for (int replica = 0; replica < mesh.shape().replica; ++replica) {
      for (int pair = 0; pair < mesh.shape().pair; ++pair) {
        for (int sequence = 0; sequence < mesh.shape().sequence; ++sequence, ++rank) {
          const Coordinates at{replica, pair, sequence};
          ASSERT_EQ(mesh.rank_of(at), rank) << mesh.describe();
          ASSERT_EQ(mesh.coordinates(rank), at) << mesh.describe();
        }
      }
    }
    ASSERT_EQ(rank, mesh.world_size());
  });
}

// The groups of one axis: each rank is in its own at its own coordinate, all members see the same group, and they cut the world into equal parts.
void check_axis(const Mesh& mesh, int degree, const std::function<std::vector<int>(int)>& group, const std::function<int(const Coordinates&)>& along) {
  std::set<std::vector<int>> groups;
  for (int rank = 0; rank < mesh.world_size(); ++rank) {
    const auto ranks = group(rank);
    ASSERT_EQ(static_cast<int>(ranks.size()), degree) << mesh.describe();
    ASSERT_EQ(ranks[along(mesh.coordinates(rank))], rank) << mesh.describe();
    ASSERT_TRUE(std::is_sorted(ranks.begin(), ranks.end()));
    for (const int other : ranks) ASSERT_EQ(group(other), ranks) << mesh.describe();
    groups.insert(ranks);
  }
  ASSERT_EQ(static_cast<int>(groups.size()) * degree, mesh.world_size());
}

TEST(Mesh, GroupsPartitionTheWorldAlongEachAxis) {
  for_every_mesh_up_to_64([](const Mesh& mesh) {
    const auto shape = mesh.shape();
    check_axis(mesh, shape.sequence, [&](int rank) { return mesh.sequence_group(rank); }, [](const Coordinates& at) { return at.sequence; });
    check_axis(mesh, shape.pair, [&](int rank) { return mesh.pair_group(rank); }, [](const Coordinates& at) { return at.pair; });
    check_axis(mesh, shape.replica, [&](int rank) { return mesh.replica_group(rank); }, [](const Coordinates& at) { return at.replica; });
    check_axis(
        mesh, shape.replica * shape.pair, [&](int rank) { return mesh.cross_section(rank); },
        [&](const Coordinates& at) { return at.replica * shape.pair + at.pair; });
  });
}

TEST(Mesh, SequenceGroupsAreNeighboursAndTheirFirstLeads) {
  for_every_mesh_up_to_64([](const Mesh& mesh) {
    const auto leaders = mesh.sequence_leaders();
    ASSERT_EQ(static_cast<int>(leaders.size()) * mesh.shape().sequence, mesh.world_size());
    for (int rank = 0; rank < mesh.world_size(); ++rank) {
      const auto group = mesh.sequence_group(rank);
      ASSERT_EQ(group.back() - group.front(), mesh.shape().sequence - 1);
      ASSERT_EQ(mesh.leader_of(rank), group.front());
      ASSERT_EQ(mesh.is_leader(rank), std::find(leaders.begin(), leaders.end(), rank) != leaders.end());
    }
  });
}

TEST(Mesh, AnExampleByHand) {
  const Mesh mesh = Mesh::for_world(12, 2, 3);  // 2 replicas
  EXPECT_EQ(mesh.shape(), (MeshShape{.replica = 2, .pair = 2, .sequence = 3}));
  EXPECT_EQ(mesh.coordinates(10), (Coordinates{.replica = 1, .pair = 1, .sequence = 1}));
  EXPECT_THAT(mesh.sequence_group(10), ElementsAre(9, 10, 11));
  EXPECT_THAT(mesh.pair_group(10), ElementsAre(7, 10));
  EXPECT_THAT(mesh.replica_group(10), ElementsAre(4, 10));
  EXPECT_THAT(mesh.cross_section(10), ElementsAre(1, 4, 7, 10));
  EXPECT_THAT(mesh.sequence_leaders(), ElementsAre(0, 3, 6, 9));
  EXPECT_EQ(mesh.describe(), "2 replicas x 2 pair x 3 sequence = 12 ranks");
}

std::string problem(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "no UserError";
}

TEST(Mesh, AnImpossibleMeshSaysWhatWouldDo) {
  const auto text = problem([] { Mesh::for_world(8, 2, 3); });
  EXPECT_THAT(text, HasSubstr("mesh.pair 2 x mesh.sequence 3 = 6 ranks"));
  EXPECT_THAT(text, HasSubstr("the 8 ranks of this job"));
  EXPECT_THAT(text, HasSubstr("mesh.sequence can be 1, 2, 4"));
  EXPECT_THAT(problem([] { Mesh::for_world(3, 2, 1); }), HasSubstr("mesh.pair 2 needs an even number of ranks"));
  EXPECT_THAT(problem([] { Mesh::for_world(4, 3, 1); }), HasSubstr("mesh.pair is 3"));
  EXPECT_THAT(problem([] { Mesh::for_world(4, 1, 0); }), HasSubstr("mesh.sequence is 0"));
  EXPECT_THAT(problem([] { Mesh::for_world(4, 2, 2'000'000'000); }), HasSubstr("impossible mesh"));
  EXPECT_THAT(problem([] { Mesh({.replica = 0, .pair = 1, .sequence = 1}); }), HasSubstr("mesh.replica is 0"));
  EXPECT_THROW(Mesh::for_world(4, 1, 2).coordinates(4), base::InvariantError);
  EXPECT_THROW(Mesh::for_world(4, 1, 2).rank_of({.replica = 0, .pair = 1, .sequence = 0}), base::InvariantError);
}

TEST(Mesh, GroupsOfOneAreMadeWithoutTheOthersAndKnowTheirPlaceInTheJob) {
  run_threads(3, [](Communicator& world) {
    auto groups = make_groups(world, Mesh::for_world(3, 1, 1));
    for (auto* group : {groups.sequence.get(), groups.pair.get()}) {
      EXPECT_EQ(group->size(), 1);
      EXPECT_EQ(group->backend(), "local");
      EXPECT_EQ(group->world_rank(), world.rank());
      EXPECT_EQ(group->world_size(), 3);
    }
  });
}

TEST(Mesh, GroupsTalkAlongTheirAxis) {
  run_threads(12, [](Communicator& world) {
    const Mesh mesh = Mesh::for_world(12, 2, 3);
    auto groups = make_groups(world, mesh);
    EXPECT_EQ(groups.sequence->rank(), groups.here.sequence);
    EXPECT_EQ(groups.pair->rank(), groups.here.pair);
    const auto names = groups.pair->all_gather_strings(std::to_string(world.rank()));
    for (int i = 0; i < 2; ++i) EXPECT_EQ(names[i], std::to_string(mesh.pair_group(world.rank())[i]));
  });
}

}  // namespace
}  // namespace magicid::comm
