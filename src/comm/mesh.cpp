#include "comm/mesh.h"

#include "base/errors.h"
#include "comm/local.h"

#include <sstream>

namespace magicid::comm {
namespace {

std::string joined(const std::vector<int>& values) {
  std::ostringstream out;
  for (std::size_t i = 0; i < values.size(); ++i) out << (i ? ", " : "") << values[i];
  return out.str();
}

std::string counted(int n, const char* one, const char* many) { return base::concat(n, " ", n == 1 ? one : many); }

void check_degrees(int pair, int sequence) {
  if (pair != 1 && pair != 2) throw base::UserError("mesh.pair is ", pair, ": expected 1 (winner and loser on the same ranks) or 2 (on different ranks)");
  if (sequence < 1) throw base::UserError("mesh.sequence is ", sequence, ": expected the number of ranks that share one sample, 1 or more");
}

}  // namespace

Mesh::Mesh(const MeshShape& shape) : shape_(shape) {
  check_degrees(shape.pair, shape.sequence);
  if (shape.replica < 1) throw base::UserError("mesh.replica is ", shape.replica, ": expected 1 or more");
}

Mesh Mesh::for_world(int world_size, int pair, int sequence) {
  check_degrees(pair, sequence);
  base::check_invariant(world_size >= 1, "a world of ", world_size, " ranks");
  const long long block = static_cast<long long>(pair) * sequence;
  if (world_size % block != 0) {
    std::ostringstream advice;
    const auto sizes = valid_sequence_sizes(world_size, pair);
    if (sizes.empty()) {
      advice << "mesh.pair 2 needs an even number of ranks; with mesh.pair 1, mesh.sequence can be " << joined(valid_sequence_sizes(world_size, 1));
    } else {
      advice << "With mesh.pair " << pair << ", mesh.sequence can be " << joined(sizes);
    }
    advice << ". Or start a multiple of " << block << " ranks.";
    throw base::UserError("impossible mesh: mesh.pair ", pair, " x mesh.sequence ", sequence, " = ", counted(static_cast<int>(block), "rank", "ranks"),
                          " for each replica, which does not divide the ", counted(world_size, "rank", "ranks"), " of this job. ", advice.str());
  }
  return Mesh({.replica = static_cast<int>(world_size / block), .pair = pair, .sequence = sequence});
}

std::string Mesh::describe() const {
  return base::concat(counted(shape_.replica, "replica", "replicas"), " x ", shape_.pair, " pair x ", shape_.sequence,
                      " sequence = ", counted(world_size(), "rank", "ranks"));
}

Coordinates Mesh::coordinates(int rank) const {
  base::check_invariant(rank >= 0 && rank < world_size(), "rank ", rank, " is outside the mesh of ", describe());
  return {.replica = rank / (shape_.sequence * shape_.pair), .pair = rank / shape_.sequence % shape_.pair, .sequence = rank % shape_.sequence};
}

int Mesh::rank_of(const Coordinates& at) const {
  base::check_invariant(
      at.replica >= 0 && at.replica < shape_.replica && at.pair >= 0 && at.pair < shape_.pair && at.sequence >= 0 && at.sequence < shape_.sequence,
      "coordinates (", at.replica, ", ", at.pair, ", ", at.sequence, ") are outside the mesh of ", describe());
  return (at.replica * shape_.pair + at.pair) * shape_.sequence + at.sequence;
}

std::vector<int> Mesh::sequence_group(int rank) const {
  Coordinates at = coordinates(rank);
  std::vector<int> ranks;
  for (at.sequence = 0; at.sequence < shape_.sequence; ++at.sequence) ranks.push_back(rank_of(at));
  return ranks;
}

std::vector<int> Mesh::pair_group(int rank) const {
  Coordinates at = coordinates(rank);
  std::vector<int> ranks;
  for (at.pair = 0; at.pair < shape_.pair; ++at.pair) ranks.push_back(rank_of(at));
  return ranks;
}

std::vector<int> Mesh::replica_group(int rank) const {
  Coordinates at = coordinates(rank);
  std::vector<int> ranks;
  for (at.replica = 0; at.replica < shape_.replica; ++at.replica) ranks.push_back(rank_of(at));
  return ranks;
}

std::vector<int> Mesh::cross_section(int rank) const {
  std::vector<int> ranks;
  for (int other = coordinates(rank).sequence; other < world_size(); other += shape_.sequence) ranks.push_back(other);
  return ranks;
}

std::vector<int> Mesh::sequence_leaders() const { return cross_section(0); }

int Mesh::leader_of(int rank) const { return rank - coordinates(rank).sequence; }

std::vector<int> valid_sequence_sizes(int world_size, int pair) {
  std::vector<int> sizes;
  if (pair < 1 || world_size % pair != 0) return sizes;
  for (int size = 1; size <= world_size / pair; ++size) {
    if (world_size / pair % size == 0) sizes.push_back(size);
  }
  return sizes;
}

MeshGroups make_groups(Communicator& world, const Mesh& mesh) {
  base::check_invariant(world.size() == mesh.world_size(), "a mesh of ", mesh.describe(), " on a world of ", world.size(), " ranks");
  const int rank = world.rank();
  // The first rank of a group is its color: unique along each axis, and the same on all members. Every rank's groups along an axis are of one size, so all
  // split or none does.
  auto group = [&](const std::vector<int>& ranks) {
    return ranks.size() == 1 ? make_local_communicator(world.world_rank(), world.world_size()) : world.split(ranks.front(), rank);
  };
  MeshGroups groups{.mesh = mesh, .here = mesh.coordinates(rank), .sequence = nullptr, .pair = nullptr};
  groups.sequence = group(mesh.sequence_group(rank));
  groups.pair = group(mesh.pair_group(rank));
  return groups;
}

}  // namespace magicid::comm
