// Mesh arithmetic: World = replica x pair x sequence, sequence varying fastest, so that a sequence group stays inside a node.
// Pure functions of numbers: no processes, no communication.
//
//   rank = (replica * pair_size + pair) * sequence_size + sequence
#pragma once

#include "comm/communicator.h"

#include <memory>
#include <string>
#include <vector>

namespace magicid::comm {

// How many ranks lie along each axis.
struct MeshShape {
  int replica = 1;   // copies that train on different pairs
  int pair = 1;      // 1: winner and loser on the same ranks; 2: on different ranks
  int sequence = 1;  // ranks that share the tokens of one sample
  bool operator==(const MeshShape&) const = default;
};

struct Coordinates {
  int replica = 0, pair = 0, sequence = 0;
  bool operator==(const Coordinates&) const = default;
};

class Mesh {
 public:
  // Throws UserError unless every degree is positive and pair is 1 or 2.
  explicit Mesh(const MeshShape& shape);
  // The replicas are what is left: world_size / (pair * sequence). Throws UserError when the degrees do not divide world_size; the
  // message names degrees, world size and the sequence sizes that would do.
  static Mesh for_world(int world_size, int pair, int sequence);

  const MeshShape& shape() const { return shape_; }
  int world_size() const { return shape_.replica * shape_.pair * shape_.sequence; }
  std::string describe() const;  // "2 replicas x 2 pair x 4 sequence = 16 ranks"

  // Throw InvariantError for a rank or coordinates outside the mesh.
  Coordinates coordinates(int rank) const;
  int rank_of(const Coordinates& at) const;

  // World ranks of the group that `rank` belongs to, in ascending order along the axis: the others' coordinates are equal to its own.
  std::vector<int> sequence_group(int rank) const;
  std::vector<int> pair_group(int rank) const;
  std::vector<int> replica_group(int rank) const;
  // Ranks with the same sequence coordinate (one from each sequence group); for coordinate 0 these are the leaders.
  std::vector<int> cross_section(int rank) const;

  // The first rank of each sequence group, ascending: those who draw work.
  std::vector<int> sequence_leaders() const;
  int leader_of(int rank) const;
  bool is_leader(int rank) const { return leader_of(rank) == rank; }

 private:
  MeshShape shape_;
};

// Sizes of `sequence` that divide world_size / pair, ascending; empty when pair does not divide world_size.
std::vector<int> valid_sequence_sizes(int world_size, int pair);

// The communicators of one rank on a mesh; their rank order is the axis's order. A group of one is made without the others.
struct MeshGroups {
  Mesh mesh;
  Coordinates here;
  std::unique_ptr<Communicator> sequence;  // shares the tokens of one sample
  std::unique_ptr<Communicator> pair;      // winner and loser of one pair
};

// Collective over `world`, whose size must be mesh.world_size() (InvariantError).
MeshGroups make_groups(Communicator& world, const Mesh& mesh);

}  // namespace magicid::comm
