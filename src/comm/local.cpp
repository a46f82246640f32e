#include "comm/local.h"

#include "base/errors.h"
#include "comm/tensor_rules.h"
#include "comm/work_queue.h"

#include <ATen/ops/clone.h>

namespace magicid::comm {
namespace {

class LocalQueue : public WorkQueue {
 public:
  explicit LocalQueue(std::int64_t count) : count_(count) {}
  std::optional<std::int64_t> next() override { return next_ < count_ ? std::optional(next_++) : std::nullopt; }
  void close() override { next_ = count_; }
  void alive() override {}
  void wait_for_all(const std::string&) override {}

 private:
  std::int64_t next_ = 0, count_;
};

class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(int world_rank, int world_size) : world_rank_(world_rank), world_size_(world_size) {}

  int world_rank() const override { return world_rank_; }
  int world_size() const override { return world_size_; }
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string backend() const override { return "local"; }

  void all_reduce(at::Tensor& tensor, Reduce) override { check_reducible("all_reduce", tensor); }

  at::Tensor all_gather(const at::Tensor& local) override {
    check_rows("all_gather", local);
    return local.detach().clone(at::MemoryFormat::Contiguous);
  }

  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    check_exchange(send, send_counts, receive_counts, 1);
    base::check_invariant(send_counts == receive_counts, "all_to_all: rank 0 sends ", send_counts[0], " rows to itself and expects ", receive_counts[0]);
    return send.detach().clone(at::MemoryFormat::Contiguous);
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_in_place("broadcast", tensor);
    check_root("broadcast", root, 1);
  }

  void barrier() override {}

  std::unique_ptr<Communicator> split(int color, int) override {
    base::check_invariant(color >= 0, "split with color ", color);
    return make_local_communicator(world_rank_, world_size_);
  }

  std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) override {
    base::check_invariant(count >= 0, "a work queue of ", count, " tickets");
    return std::make_unique<LocalQueue>(count);
  }

 private:
  int world_rank_, world_size_;
};

}  // namespace

std::unique_ptr<Communicator> make_local_communicator(int world_rank, int world_size) { return std::make_unique<LocalCommunicator>(world_rank, world_size); }

}  // namespace magicid::comm
