#include "parallel/replicas.h"

#include "base/errors.h"
#include "base/hash.h"
#include "comm/rank_errors.h"

#include <algorithm>
#include <span>
#include <sstream>
#include <vector>

namespace magicid::parallel {

void reduce_gradient(comm::Communicator& world, at::Tensor& gradient, std::int64_t global_count) {
  base::check_invariant(global_count > 0, "a gradient averaged over ", global_count, " samples");
  base::check_invariant(gradient.defined() && gradient.is_floating_point() && gradient.is_contiguous(), "reduce_gradient needs a contiguous floating tensor");
  world.all_reduce(gradient);
  gradient.div_(static_cast<double>(global_count));
}

void broadcast_adapter(comm::Communicator& world, at::Tensor& adapter) { world.broadcast(adapter, 0); }

std::string hash_of(const at::Tensor& tensor) {
  const at::Tensor host = tensor.detach().cpu().contiguous();
  std::ostringstream head;
  head << c10::toString(host.scalar_type()) << host.sizes();
  base::Hasher hasher;
  hasher.update(head.str());
  hasher.update(std::span(static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()));
  return hasher.hex();
}

void check_same_on_all_ranks(comm::Communicator& world, const std::string& what, const std::string& hash) {
  const auto hashes = world.all_gather_strings(hash);
  if (std::all_of(hashes.begin(), hashes.end(), [&](const std::string& other) { return other == hashes[0]; })) return;
  // Only now are the nodes' names worth an exchange.
  const auto names = world.all_gather_strings(base::concat("rank ", world.world_rank(), " (node ", comm::node_name(), ")"));
  const auto count = [&](const std::string& value) { return std::count(hashes.begin(), hashes.end(), value); };
  const auto common = *std::max_element(hashes.begin(), hashes.end(), [&](const auto& a, const auto& b) { return count(a) < count(b); });
  std::ostringstream text;
  text << what << " differs between ranks: " << count(common) << " of " << world.size() << " have " << common;
  for (int rank = 0; rank < world.size(); ++rank) {
    if (hashes[rank] != common) text << "; " << names[rank] << " has " << hashes[rank];
  }
  text << ". Such ranks no longer train one model (faulty memory or a non-deterministic kernel): start again from the last checkpoint, without that node.";
  throw base::PeerError(text.str());
}

}  // namespace magicid::parallel
