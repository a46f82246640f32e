// What keeps the ranks' adapters one adapter: reduction of gradients, broadcast of weights, and the check that they are the same.
//
// The adapter and its gradient are one flat buffer [N] each (fp32 in training, fp64 in tests).
#pragma once

#include "comm/communicator.h"

#include <cstdint>
#include <string>

namespace magicid::parallel {

// gradient [N] <- sum of `gradient` over `world` / global_count. Each rank hands in the gradient of the sum of its own partial losses;
// global_count is the number of samples (pairs) of the whole step over all ranks, not the number of ranks: a batch that does not divide
// by the replicas is right, and sequence shards are partial sums like any other. A rank without samples hands in zeros. In place.
// Throws InvariantError unless global_count > 0 and the tensor is contiguous and floating. Collective over `world`.
void reduce_gradient(comm::Communicator& world, at::Tensor& gradient, std::int64_t global_count);

// adapter [N] <- rank 0's, on every rank of `world`. In place, contiguous, the same shape and dtype everywhere. Collective over `world`.
void broadcast_adapter(comm::Communicator& world, at::Tensor& adapter);

// Hash of the values of a host or device tensor: base::Hasher over dtype, shape and bytes. Not collective.
std::string hash_of(const at::Tensor& tensor);

// Compares `hash` (of `what`, e.g. "the adapter after step 100") over the ranks. When they differ every rank throws PeerError that names the ranks apart from
// the most common value (from rank 0's when values are equally common). Collective over `world`.
void check_same_on_all_ranks(comm::Communicator& world, const std::string& what, const std::string& hash);

}  // namespace magicid::parallel
