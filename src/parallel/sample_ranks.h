// The ranks that work on one sample together: those that share its tokens, and those that hold the two sides of a preference pair.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>

#include "comm/mesh.h"
#include "parallel/sequence_attention.h"

namespace magicid::parallel {

// Winner and loser of a preference pair: the pair axis of the mesh.
enum class Branch { winner = 0, loser = 1 };

class SampleRanks {
 public:
  // One rank alone: whole sequences, both branches.
  SampleRanks() = default;
  // This rank's sequence group and pair group; `groups` must outlive this object. Not collective.
  explicit SampleRanks(comm::MeshGroups& groups);
  // The sequence group alone, where there are no pairs: generation, reconstruction.
  static SampleRanks of_sequence(comm::MeshGroups& groups);

  models::generator::JointAttention& attention();
  int sequence_size() const { return sequence_ ? sequence_->size() : 1; }
  int pair_size() const { return pair_ ? pair_->size() : 1; }
  // Whether this rank computes that side of a pair.
  bool computes(Branch branch) const;

  // numbers <- their sum over all ranks of the sample: the sequence group, then the pair group. Every rank gets the same bits. Collective over the sample's
  // ranks.
  void sum(std::span<double> numbers);
  // All video tokens [B,S,N] from every rank's slice [B,S',N], without autograd. Collective over the sequence group.
  at::Tensor gather_video(const at::Tensor& tokens) const;

 private:
  comm::Communicator* sequence_ = nullptr;
  comm::Communicator* pair_ = nullptr;
  std::optional<SequenceAttention> attention_;  // where a sequence is shared
};

}  // namespace magicid::parallel
