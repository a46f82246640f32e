#include "parallel/sample_ranks.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/errors.h"

namespace magicid::parallel {

SampleRanks::SampleRanks(comm::MeshGroups& groups) : sequence_(groups.sequence.get()), pair_(groups.pair.get()) {
  base::check_invariant(pair_size() <= 2, "a pair on ", pair_size(), " groups of ranks");
  if (sequence_size() > 1) attention_.emplace(*sequence_);
}

SampleRanks SampleRanks::of_sequence(comm::MeshGroups& groups) {
  SampleRanks ranks(groups);
  ranks.pair_ = nullptr;
  return ranks;
}

models::generator::JointAttention& SampleRanks::attention() {
  if (attention_) return *attention_;
  return models::generator::local_joint_attention();
}

bool SampleRanks::computes(Branch branch) const { return pair_size() == 1 || pair_->rank() == static_cast<int>(branch); }

void SampleRanks::sum(std::span<double> numbers) {
  if (sequence_size() == 1 && pair_size() == 1) return;
  at::Tensor sums = at::empty({static_cast<std::int64_t>(numbers.size())}, at::kDouble);
  std::copy(numbers.begin(), numbers.end(), sums.mutable_data_ptr<double>());
  if (sequence_size() > 1) sequence_->all_reduce(sums);
  if (pair_size() > 1) pair_->all_reduce(sums);
  std::copy_n(sums.const_data_ptr<double>(), numbers.size(), numbers.begin());
}

at::Tensor SampleRanks::gather_video(const at::Tensor& tokens) const { return attention_ ? attention_->gather_video(tokens) : tokens; }

}  // namespace magicid::parallel
