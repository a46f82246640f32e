#include "comm/communicator.h"

#include "base/errors.h"
#include "comm/work_queue.h"

#include <ATen/core/TensorBase.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <cstring>

namespace magicid::comm {
namespace {

at::Tensor bytes_of(const std::string& text) {
  at::Tensor bytes = at::empty({static_cast<std::int64_t>(text.size())}, at::kByte);
  if (!text.empty()) std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}

}  // namespace

std::vector<std::string> Communicator::all_gather_strings(const std::string& local) {
  at::Tensor length = at::empty({1}, at::kLong);
  *length.mutable_data_ptr<std::int64_t>() = static_cast<std::int64_t>(local.size());
  const at::Tensor lengths = all_gather(length);
  const at::Tensor bytes = all_gather(bytes_of(local));
  std::vector<std::string> out;
  const char* at = static_cast<const char*>(bytes.const_data_ptr());
  for (int rank = 0; rank < size(); ++rank) {
    const auto count = lengths.const_data_ptr<std::int64_t>()[rank];
    out.emplace_back(count ? std::string(at, static_cast<std::size_t>(count)) : std::string());
    at += count;
  }
  return out;
}

std::string Communicator::broadcast_string(const std::string& text, int root) {
  at::Tensor length = at::empty({1}, at::kLong);
  *length.mutable_data_ptr<std::int64_t>() = static_cast<std::int64_t>(text.size());
  broadcast(length, root);
  const auto count = *length.const_data_ptr<std::int64_t>();
  at::Tensor bytes = rank() == root ? bytes_of(text) : at::empty({count}, at::kByte);
  broadcast(bytes, root);
  return count ? std::string(static_cast<const char*>(bytes.const_data_ptr()), static_cast<std::size_t>(count)) : std::string();
}

std::string name_of(const Communicator& group) {
  const std::string name = base::concat("rank ", group.world_rank(), " of ", group.world_size());
  if (group.size() == group.world_size() && group.rank() == group.world_rank()) return name;
  return base::concat(name, " (rank ", group.rank(), " of a group of ", group.size(), ")");
}

std::optional<std::int64_t> next_for_group(WorkQueue* queue, Communicator& group) {
  at::Tensor ticket = at::empty({1}, at::kLong);
  if (group.rank() == 0) {
    base::check_invariant(queue != nullptr, "the leader of a group draws without a queue");
    *ticket.mutable_data_ptr<std::int64_t>() = queue->next().value_or(-1);
  }
  group.broadcast(ticket, 0);
  const auto number = *ticket.const_data_ptr<std::int64_t>();
  return number < 0 ? std::nullopt : std::optional(number);
}

}  // namespace magicid::comm
