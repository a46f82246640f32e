#include "base/errors.h"
#include "base/log.h"
#include "comm/nccl_library.h"
#include "comm/tensor_rules.h"
#include "comm/watchdog.h"
#include "comm/work_queue.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace magicid::comm {
namespace {

using Status = NcclResult::Status;
using base::check_invariant;

// Takes the watchdog's eyes off an operation, however its call ends.
struct Forget {
  std::uint64_t watch;
  ~Forget() { forget(watch); }
};

// One NCCL communicator, shared with the watchdog's thread, which may abort it at any time. Made by this process's rank `rank` of `size`.
class Link {
 public:
  Link(std::shared_ptr<NcclLibrary> library, int rank, int size)
      : library_(std::move(library)), rank_(rank), size_(size), exceptions_(std::uncaught_exceptions()) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() {
    if (comm_ == nullptr || aborted()) return;
    // Closing needs all ranks: one that unwinds alone must not wait for the others there.
    if (std::uncaught_exceptions() != exceptions_) {
      abort("an error ended its use on this rank");
      return;
    }
    // Healthy: flushed, then destroyed; a flush that does not end is cut off. The watchdog does not look at it: this rank has done its work, and at the end of
    // the program ranks wait for each other under its eyes.
    NcclResult result = library_->finalize(comm_);
    if (result.status == Status::in_progress) result = wait(collective_timeout());
    if (result.status == Status::success) {
      library_->destroy(comm_);
    } else {
      base::log::warning(base::concat("the nccl group of rank ", rank_, " of ", size_, " could not be closed in order and was cut off: ", result.text));
      abort(result.text);
    }
  }

  NcclLibrary& library() { return *library_; }
  std::shared_ptr<NcclLibrary> shared_library() { return library_; }
  NcclLibrary::Comm comm() const { return comm_; }

  // Joins the ranks that hold `unique_id`. The result tells what went wrong; the link is aborted then. Collective over those ranks.
  NcclResult join(const std::string& unique_id) {
    return complete("join", [&] {
      NcclLibrary::Comm made = nullptr;
      const NcclResult begun = library_->init(&made, size_, unique_id, rank_);
      adopt(made);
      return begun;
    });
  }

  // Makes the empty link `part` this rank's part of the split. The result tells what went wrong; the link that failed is aborted then. Collective over the
  // ranks of this link.
  NcclResult split(int color, int key, Link& part) {
    // NCCL's own thread writes there when the split has ended or was aborted: it lives as long as this communicator.
    NcclLibrary::Comm& made = parts_.emplace_back(nullptr);
    const NcclResult parted = complete("split", [&] { return library_->split(comm_, color, key, &made); });
    if (parted.status == Status::failed) return parted;
    part.adopt(made);
    return part.complete("split", [] { return NcclResult{}; });
  }

  bool aborted() {
    std::lock_guard lock(mutex_);
    return aborted_;
  }
  std::string reason() {
    std::lock_guard lock(mutex_);
    return reason_;
  }
  void abort(const std::string& reason) {
    std::lock_guard lock(mutex_);
    if (aborted_) return;
    aborted_ = true;
    reason_ = reason;
    if (comm_ != nullptr) library_->abort(comm_);
  }
  NcclResult state() {
    std::lock_guard lock(mutex_);
    if (aborted_) return {Status::failed, reason_};
    if (comm_ == nullptr) return {Status::in_progress, {}};
    return library_->async_error(comm_);
  }
  // Until no call is in progress any more: without a limit for what the watchdog looks at, whose abort ends it.
  NcclResult wait(std::optional<std::chrono::milliseconds> limit = std::nullopt) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      const NcclResult result = state();
      if (result.status != Status::in_progress) return result;
      if (limit && std::chrono::steady_clock::now() - start > *limit) return {Status::failed, "NCCL has not answered within the collective timeout"};
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // Puts an operation under the watchdog's eyes until forget(): it has ended when `done` says so; when NCCL reports an error or collective_timeout() passes
  // before, the link is aborted and the reason names the operation. `name` is a literal.
  std::uint64_t watch(const char* name, std::int64_t bytes, std::function<bool()> done) {
    return watch_polled({
        .operation = {.name = name, .backend = "nccl", .rank = rank_, .size = size_, .bytes = bytes},
        .poll =
            [this, done = std::move(done)] {
              const NcclResult now = state();
              if (now.status == Status::failed) return PollResult{.state = PollState::failed, .reason = now.text};
              return PollResult{.state = done() ? PollState::finished : PollState::running, .reason = {}};
            },
        .on_failure =
            [this, name, bytes](const std::string& reason) {
              abort(bytes < 0 ? base::concat(name, " over nccl: ", reason) : base::concat(name, " of ", bytes, " bytes over nccl: ", reason));
            },
    });
  }

 private:
  // Calls `issue`, which is about this communicator itself, and waits until NCCL has done it. A failure aborts the link.
  template <class Issue>
  NcclResult complete(const char* name, const Issue& issue) {
    const Forget watched{watch(name, -1, [] { return false; })};
    NcclResult result = issue();
    if (result.status != Status::failed) result = wait();
    if (result.status == Status::failed) abort(base::concat(name, " over nccl: ", result.text));
    return result;
  }

  void adopt(NcclLibrary::Comm comm) {
    std::lock_guard lock(mutex_);
    comm_ = comm;
    if (aborted_ && comm_ != nullptr) library_->abort(comm_);
  }

  std::shared_ptr<NcclLibrary> library_;
  int rank_, size_, exceptions_;
  NcclLibrary::Comm comm_ = nullptr;     // set once, by the rank's own thread
  std::deque<NcclLibrary::Comm> parts_;  // a deque: their places must not move
  std::mutex mutex_;
  bool aborted_ = false;
  std::string reason_;
};

// A collective on the device, between its call and the moment when the device has passed it.
struct InFlight {
  std::atomic<bool> finished{false};
  std::mutex mutex;
  std::function<bool()> passed;  // empty until the call has returned
  std::uint64_t watch = 0;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<Link> link, std::unique_ptr<Communicator> host) : link_(std::move(link)), host_(std::move(host)) {}
  ~NcclCommunicator() override {
    for (const auto& operation : in_flight_) forget(operation->watch);
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  int world_rank() const override { return host_->world_rank(); }
  int world_size() const override { return host_->world_size(); }
  std::string backend() const override { return "nccl"; }

  void all_reduce(at::Tensor& tensor, Reduce operation) override {
    check_reducible("all_reduce", tensor);
    if (!on_device(tensor)) return host_->all_reduce(tensor, operation);
    if (tensor.numel() == 0) return;
    // NCCL would round after every addition.
    const bool narrow = tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf;
    const at::Tensor wide = narrow ? tensor.to(at::kFloat) : tensor;
    run("all_reduce", wide.nbytes(), [&] {
      require("all_reduce", library().all_reduce(wide.mutable_data_ptr(), static_cast<std::size_t>(wide.numel()), wide.scalar_type(), operation, comm()));
    });
    if (narrow) tensor.copy_(wide);
  }

  at::Tensor all_gather(const at::Tensor& local) override {
    check_rows("all_gather", local);
    if (!on_device(local)) return host_->all_gather(local);
    const at::Tensor own = local.detach().contiguous();
    const auto rows = gather_rows(own);
    at::Tensor out = empty_rows(own, total(rows));
    if (out.numel() == 0) return out;
    auto* target = static_cast<char*>(out.mutable_data_ptr());
    if (std::all_of(rows.begin(), rows.end(), [&](std::int64_t count) { return count == rows[0]; })) {
      run("all_gather", own.nbytes(), [&] { require("all_gather", library().all_gather(own.const_data_ptr(), target, own.nbytes(), comm())); });
      return out;
    }
    const auto ranks = static_cast<std::size_t>(size());
    exchange("all_gather", {own, std::vector<std::int64_t>(ranks, own.size(0)), std::vector<std::int64_t>(ranks, 0)}, out, rows);
    return out;
  }

  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    check_exchange(send, send_counts, receive_counts, size());
    if (!on_device(send)) return host_->all_to_all(send, send_counts, receive_counts);
    check_invariant(send_counts[rank()] == receive_counts[rank()], "all_to_all: rank ", rank(), " sends ", send_counts[rank()], " rows to itself and expects ",
                    receive_counts[rank()]);
    const at::Tensor own = send.detach().contiguous();
    at::Tensor out = empty_rows(own, total(receive_counts));
    std::vector<std::int64_t> starts;
    std::int64_t start = 0;
    for (const auto count : send_counts) {
      starts.push_back(start);
      start += count;
    }
    exchange("all_to_all", {own, send_counts, starts}, out, receive_counts);
    return out;
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_in_place("broadcast", tensor);
    check_root("broadcast", root, size());
    if (!on_device(tensor)) return host_->broadcast(tensor, root);
    if (tensor.numel() == 0) return;
    run("broadcast", tensor.nbytes(), [&] { require("broadcast", library().broadcast(tensor.mutable_data_ptr(), tensor.nbytes(), root, comm())); });
  }

  void barrier() override { host_->barrier(); }

  std::unique_ptr<Communicator> split(int color, int key) override {
    check_invariant(color >= 0, "split with color ", color);
    check_whole();
    auto host = host_->split(color, key);
    auto part = std::make_shared<Link>(link_->shared_library(), host->rank(), host->size());
    if (const NcclResult made = link_->split(color, key, *part); made.status == Status::failed) {
      throw base::PeerError("split over nccl failed on ", name_of(*this), ": ", made.text);
    }
    return std::make_unique<NcclCommunicator>(part, std::move(host));
  }

  std::vector<std::string> all_gather_strings(const std::string& local) override { return host_->all_gather_strings(local); }
  std::string broadcast_string(const std::string& text, int root) override { return host_->broadcast_string(text, root); }
  std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) override { return host_->make_work_queue(count); }

 private:
  NcclLibrary& library() { return link_->library(); }
  NcclLibrary::Comm comm() { return link_->comm(); }
  bool on_device(const at::Tensor& tensor) { return library().serves(tensor.device()); }

  [[noreturn]] void fail(const char* operation, const std::string& text) {
    link_->abort(base::concat(operation, " over nccl: ", text));
    throw base::PeerError(operation, " over nccl failed on ", name_of(*this), ": ", text);
  }
  void check_whole() {
    if (link_->aborted()) throw base::PeerError("the nccl group of ", name_of(*this), " was aborted: ", link_->reason());
  }
  void require(const char* operation, const NcclResult& result) {
    if (result.status == Status::failed) fail(operation, result.text);
  }
  void settle(const char* operation) { require(operation, link_->wait()); }

  // Calls `issue` under the watchdog's eyes, which stay on it until the device has passed it.
  template <class Issue>
  void run(const char* name, std::size_t bytes, const Issue& issue) {
    check_whole();
    drop_finished();
    auto operation = std::make_shared<InFlight>();
    operation->watch = link_->watch(name, static_cast<std::int64_t>(bytes), [operation = operation.get()] {
      std::lock_guard lock(operation->mutex);
      if (!operation->passed || !operation->passed()) return false;
      operation->finished = true;
      return true;
    });
    in_flight_.push_back(operation);
    try {
      issue();
      settle(name);
      check_whole();
      auto passed = library().mark();
      std::lock_guard lock(operation->mutex);
      operation->passed = std::move(passed);
    } catch (...) {
      // A call that never reached the device must not be taken for one that hangs there.
      forget(operation->watch);
      in_flight_.pop_back();
      throw;
    }
  }

  void drop_finished() {
    while (!in_flight_.empty() && in_flight_.front()->finished) {
      forget(in_flight_.front()->watch);
      in_flight_.pop_front();
    }
  }

  // Rows of every rank, over the host; throws the same error on all ranks when what they hand in does not fit together.
  std::vector<std::int64_t> gather_rows(const at::Tensor& own) {
    at::Tensor header = at::empty({1, 3}, at::kLong);
    auto* fields = header.mutable_data_ptr<std::int64_t>();
    fields[0] = own.size(0);
    fields[1] = row_bytes(own);
    fields[2] = static_cast<std::int64_t>(own.scalar_type());
    const at::Tensor headers = host_->all_gather(header);
    const auto* all = headers.const_data_ptr<std::int64_t>();
    std::vector<std::int64_t> rows;
    for (int other = 0; other < size(); ++other) {
      check_invariant(all[3 * other + 1] == all[1] && all[3 * other + 2] == all[2], "all_gather: ranks disagree: the rows of rank ", other,
                      " differ in dtype or size from those of rank 0; this rank, ", rank(), ", hands in ", describe_tensor(own));
      rows.push_back(all[3 * other]);
    }
    return rows;
  }

  // Which rows each rank is sent: counts[r] of them from row starts[r] on; the parts may overlap.
  struct Outgoing {
    const at::Tensor& rows;
    std::vector<std::int64_t> counts, starts;
  };

  // One group of sends and receives. Received rows, receive_counts[r] from rank r, follow each other in `out` by rank.
  void exchange(const char* name, const Outgoing& send, at::Tensor& out, const std::vector<std::int64_t>& receive_counts) {
    const std::int64_t bytes = row_bytes(out);
    const auto* source = static_cast<const char*>(send.rows.const_data_ptr());
    auto* target = static_cast<char*>(out.mutable_data_ptr());
    std::int64_t own_start = 0;
    run(name, send.rows.nbytes(), [&] {
      require(name, library().group_start());
      NcclResult problem;
      const auto keep = [&](const NcclResult& result) {
        if (result.status == Status::failed && problem.status != Status::failed) problem = result;
      };
      std::int64_t row = 0;
      for (int other = 0; other < size(); ++other) {
        if (other == rank()) {
          own_start = row;
        } else {
          if (send.counts[other] * bytes > 0)
            keep(library().send(source + send.starts[other] * bytes, static_cast<std::size_t>(send.counts[other] * bytes), other, comm()));
          if (receive_counts[other] * bytes > 0)
            keep(library().receive(target + row * bytes, static_cast<std::size_t>(receive_counts[other] * bytes), other, comm()));
        }
        row += receive_counts[other];
      }
      keep(library().group_end());  // also after a problem: an open group would swallow all later calls
      require(name, problem);
    });
    out.narrow(0, own_start, receive_counts[rank()]).copy_(send.rows.narrow(0, send.starts[rank()], send.counts[rank()]));
  }

  std::shared_ptr<Link> link_;
  std::unique_ptr<Communicator> host_;
  std::deque<std::shared_ptr<InFlight>> in_flight_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::shared_ptr<NcclLibrary> library, std::unique_ptr<Communicator> host) {
  const std::string id = host->broadcast_string(host->rank() == 0 ? library->unique_id() : std::string(), 0);
  auto link = std::make_shared<Link>(library, host->rank(), host->size());
  if (const NcclResult joined = link->join(id); joined.status == Status::failed) {
    throw base::PeerError(name_of(*host), " could not join over nccl: ", joined.text, " (NCCL_DEBUG=INFO says more)");
  }
  return std::make_unique<NcclCommunicator>(std::move(link), std::move(host));
}

}  // namespace magicid::comm
