#include "comm/threads.h"

#include "base/errors.h"
#include "comm/attendance.h"
#include "comm/rank_errors.h"
#include "comm/tensor_rules.h"
#include "comm/watchdog.h"
#include "comm/work_queue.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

namespace magicid::comm {
namespace {

// One lock for all groups of a world, so that a failure on any rank wakes everybody, in whichever group they wait.
struct World {
  int size = 1;
  std::mutex mutex;
  std::condition_variable changed;
  std::string poison;  // why the world ended; empty while it is healthy
  bool poisoned = false;

  void end(const std::string& reason) {
    std::lock_guard lock(mutex);
    if (!poisoned) poison = reason;
    poisoned = true;
    changed.notify_all();
  }
};

// What a rank hands in; the pointer lives until the second meeting of the same collective.
struct Slot {
  std::string call;  // must be the same on all ranks
  const void* data = nullptr;
};

struct Group {
  Group(std::shared_ptr<World> of, int count) : world(std::move(of)), size(count), slots(static_cast<std::size_t>(count)) {}

  void meet(int rank, const char* operation) {
    std::unique_lock lock(world->mutex);
    if (world->poisoned) throw base::PeerError(world->poison);
    const auto mine = generation;
    if (++arrived == size) {
      arrived = 0;
      ++generation;
      world->changed.notify_all();
      return;
    }
    const auto limit = collective_timeout();
    const bool woken = world->changed.wait_for(lock, limit, [&] { return generation != mine || world->poisoned; });
    if (generation != mine) return;
    if (!woken) {
      world->poison =
          base::concat(describe_operation({.name = operation, .backend = "threads", .rank = rank, .size = size}), ": has waited longer than the limit of ",
                       static_cast<double>(limit.count()) / 1000.0, " s; ", size - arrived, " of ", size, " ranks did not arrive");
      world->poisoned = true;
      world->changed.notify_all();
    }
    throw base::PeerError(world->poison);
  }

  std::shared_ptr<World> world;
  int size;
  int arrived = 0;
  std::uint64_t generation = 0;
  std::vector<Slot> slots;
};

struct QueueState {
  QueueState(std::int64_t tickets, int ranks) : count(tickets), size(ranks), attendance(ranks) {}
  std::mutex mutex;
  std::int64_t next = 0;
  const std::int64_t count;
  const int size;
  bool closed = false;
  Attendance attendance;
};

class ThreadQueue : public WorkQueue {
 public:
  ThreadQueue(std::shared_ptr<QueueState> state, std::shared_ptr<World> world, int rank)
      : state_(std::move(state)), world_(std::move(world)), rank_(rank), exceptions_(std::uncaught_exceptions()) {}
  ~ThreadQueue() override {
    if (std::uncaught_exceptions() > exceptions_) close();
  }

  std::optional<std::int64_t> next() override {
    alive();
    std::lock_guard lock(state_->mutex);
    return !state_->closed && state_->next < state_->count ? std::optional(state_->next++) : std::nullopt;
  }

  void close() override {
    std::lock_guard lock(state_->mutex);
    state_->closed = true;
  }

  void alive() override { state_->attendance.alive(rank_); }

  void wait_for_all(const std::string& what) override {
    state_->attendance.finish(rank_);
    while (!state_->attendance.all_finished()) {
      if (const auto silent = state_->attendance.silent()) world_->end(describe_silence(what, rank_, *silent, state_->size, node_name()));
      std::unique_lock lock(world_->mutex);
      if (world_->poisoned) throw base::PeerError(world_->poison);
      world_->changed.wait_for(lock, std::chrono::milliseconds(1));
    }
  }

 private:
  std::shared_ptr<QueueState> state_;
  std::shared_ptr<World> world_;
  int rank_, exceptions_;
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank, int world_rank) : group_(std::move(group)), rank_(rank), world_rank_(world_rank) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size; }
  int world_rank() const override { return world_rank_; }
  int world_size() const override { return group_->world->size; }
  std::string backend() const override { return "threads"; }

  void all_reduce(at::Tensor& tensor, Reduce operation) override {
    check_reducible("all_reduce", tensor);
    at::Tensor result = at::empty(tensor.sizes(), tensor.options().requires_grad(false));
    collective("all_reduce", base::concat("all_reduce ", static_cast<int>(operation), " ", describe_tensor(tensor)), tensor.const_data_ptr(),
               [&](const auto& slots) {
                 std::vector<const void*> sources;
                 for (const auto& slot : slots) sources.push_back(slot.data);
                 reduce_in_order(tensor.scalar_type(), operation, result.mutable_data_ptr(), sources, tensor.numel());
               });
    if (tensor.numel() > 0) std::memcpy(tensor.mutable_data_ptr(), result.const_data_ptr(), tensor.nbytes());
  }

  at::Tensor all_gather(const at::Tensor& local) override {
    check_rows("all_gather", local);
    const at::Tensor own = local.detach().contiguous();
    at::Tensor out;
    collective("all_gather", "all_gather " + row_signature(own), &own, [&](const auto& slots) {
      std::int64_t rows = 0;
      for (const auto& slot : slots) rows += static_cast<const at::Tensor*>(slot.data)->size(0);
      out = empty_rows(own, rows);
      auto* target = static_cast<char*>(out.mutable_data_ptr());
      for (const auto& slot : slots) {
        const auto& part = *static_cast<const at::Tensor*>(slot.data);
        if (part.numel() > 0) std::memcpy(target, part.const_data_ptr(), part.nbytes());
        target += part.nbytes();
      }
    });
    return out;
  }

  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    check_exchange(send, send_counts, receive_counts, size());
    struct Parcel {
      at::Tensor rows;
      std::vector<std::int64_t> counts;
    };
    const Parcel own{send.detach().contiguous(), send_counts};
    at::Tensor out = empty_rows(own.rows, total(receive_counts));
    const auto bytes = row_bytes(own.rows);
    collective("all_to_all", "all_to_all " + row_signature(own.rows), &own, [&](const auto& slots) {
      auto* target = static_cast<char*>(out.mutable_data_ptr());
      for (int from = 0; from < size(); ++from) {
        const auto& parcel = *static_cast<const Parcel*>(slots[from].data);
        const auto count = parcel.counts[rank_];
        base::check_invariant(count == receive_counts[from], "all_to_all: rank ", from, " sends ", count, " rows to rank ", rank_, ", which expects ",
                              receive_counts[from]);
        std::int64_t before = 0;
        for (int to = 0; to < rank_; ++to) before += parcel.counts[to];
        if (count * bytes > 0)
          std::memcpy(target, static_cast<const char*>(parcel.rows.const_data_ptr()) + before * bytes, static_cast<std::size_t>(count * bytes));
        target += count * bytes;
      }
    });
    return out;
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_in_place("broadcast", tensor);
    check_root("broadcast", root, size());
    collective("broadcast", base::concat("broadcast from ", root, " ", describe_tensor(tensor)), tensor.const_data_ptr(), [&](const auto& slots) {
      if (rank_ != root && tensor.numel() > 0) std::memcpy(tensor.mutable_data_ptr(), slots[root].data, tensor.nbytes());
    });
  }

  void barrier() override {
    collective("barrier", "barrier", nullptr, [](const auto&) {});
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    base::check_invariant(color >= 0, "split with color ", color);
    struct Choice {
      int color, key, rank;
    };
    const Choice own{color, key, rank_};
    std::vector<Choice> members;
    collective("split", "split", &own, [&](const auto& slots) {
      for (const auto& slot : slots) {
        const auto& choice = *static_cast<const Choice*>(slot.data);
        if (choice.color == color) members.push_back(choice);
      }
    });
    std::stable_sort(members.begin(), members.end(), [](const Choice& a, const Choice& b) { return a.key < b.key; });
    const auto place = std::find_if(members.begin(), members.end(), [&](const Choice& choice) { return choice.rank == rank_; });
    std::shared_ptr<Group> group;
    if (place == members.begin()) group = std::make_shared<Group>(group_->world, static_cast<int>(members.size()));
    std::shared_ptr<Group> joined;
    collective("split", "split join", &group,
               [&](const auto& slots) { joined = *static_cast<const std::shared_ptr<Group>*>(slots[members.front().rank].data); });
    return std::make_unique<ThreadCommunicator>(joined, static_cast<int>(place - members.begin()), world_rank_);
  }

  std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) override {
    base::check_invariant(count >= 0, "a work queue of ", count, " tickets");
    const auto state = std::make_shared<QueueState>(count, size());
    std::shared_ptr<QueueState> shared;
    collective("make_work_queue", base::concat("make_work_queue ", count), &state,
               [&](const auto& slots) { shared = *static_cast<const std::shared_ptr<QueueState>*>(slots[0].data); });
    return std::make_unique<ThreadQueue>(shared, group_->world, rank_);
  }

 private:
  // What must agree over ranks that hand in rows.
  static std::string row_signature(const at::Tensor& rows) { return describe_tensor(empty_rows(rows, 0)); }

  // Publishes, meets, reads the others' slots, meets again; only then may a rank's own data change or vanish. An error of `read` is
  // thrown after the second meeting, so that nobody is left there.
  template <class Read>
  void collective(const char* name, std::string call, const void* data, const Read& read) {
    group_->slots[rank_] = {.call = std::move(call), .data = data};
    group_->meet(rank_, name);
    std::exception_ptr error;
    try {
      for (int other = 0; other < size(); ++other) {
        base::check_invariant(group_->slots[other].call == group_->slots[0].call, "ranks disagree: rank ", other, " calls ", group_->slots[other].call,
                              ", rank 0 calls ", group_->slots[0].call);
      }
      read(group_->slots);
    } catch (...) {
      error = std::current_exception();
    }
    group_->meet(rank_, name);
    if (error) std::rethrow_exception(error);
  }

  std::shared_ptr<Group> group_;
  int rank_, world_rank_;
};

}  // namespace

void run_threads(int size, const std::function<void(Communicator&)>& work) {
  base::check_invariant(size >= 1, "a world of ", size, " threads");
  auto world = std::make_shared<World>();
  world->size = size;
  auto group = std::make_shared<Group>(world, size);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::vector<char> secondary(static_cast<std::size_t>(size), 0);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        ThreadCommunicator communicator(group, rank, rank);
        work(communicator);
      } catch (...) {
        errors[rank] = std::current_exception();
        const Failure failure = describe_failure(errors[rank]);
        {
          std::lock_guard lock(world->mutex);
          secondary[rank] = world->poisoned && failure.code == base::ExitCode::peer;
        }
        world->end(base::concat("rank ", rank, " of ", size, " failed: ", failure.text));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  // Those that only heard of the failure come after those that caused it.
  for (const bool heard : {false, true}) {
    for (int rank = 0; rank < size; ++rank) {
      if (errors[rank] && (secondary[rank] != 0) == heard) std::rethrow_exception(errors[rank]);
    }
  }
}

}  // namespace magicid::comm
