#include "base/errors.h"
#include "comm/mpi.h"
#include "comm/mpi_handle.h"
#include "comm/rank_errors.h"
#include "comm/tensor_rules.h"
#include "comm/watchdog.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <exception>

namespace magicid::comm {
namespace {

using base::check_invariant;

// 1 GiB: below MPI's int counts, large enough that cutting costs nothing.
std::atomic<std::int64_t> piece_bytes{std::int64_t{1} << 30};

// Up to here every rank gathers all contributions and adds them itself: one exchange instead of two.
constexpr std::int64_t small_reduction_bytes = 32 << 10;

void check_host(const char* operation, const at::Tensor& tensor) {
  check_invariant(tensor.device().is_cpu(), operation, " over mpi takes host tensors, not one on ", tensor.device().str(),
                  "; use the nccl backend or move it to the host");
}

// Waits for all requests; the statuses tell how many bytes really came.
class Requests {
 public:
  MPI_Request* add() {
    requests_.push_back(MPI_REQUEST_NULL);
    return &requests_.back();
  }
  void reserve(std::size_t count) { requests_.reserve(count); }
  std::vector<MPI_Status> wait(const char* operation) {
    std::vector<MPI_Status> statuses(requests_.size());
    const int code = MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses.data());
    if (code == MPI_ERR_IN_STATUS) {
      for (const auto& status : statuses) {
        check_invariant(status.MPI_ERROR != MPI_ERR_TRUNCATE, operation, ": rank ", status.MPI_SOURCE, " sent more than this rank expects");
        if (status.MPI_ERROR != MPI_ERR_PENDING) check_mpi(status.MPI_ERROR, operation);
      }
    }
    check_mpi(code, operation);
    return statuses;
  }

 private:
  std::vector<MPI_Request> requests_;
};

std::int64_t pieces(std::int64_t bytes, std::int64_t limit) { return (bytes + limit - 1) / limit; }

class MpiCommunicator : public Communicator {
 public:
  explicit MpiCommunicator(std::shared_ptr<MpiHandle> handle) : handle_(std::move(handle)) {}

  int rank() const override { return handle_->rank(); }
  int size() const override { return handle_->size(); }
  int world_rank() const override { return rank_of_job(); }
  int world_size() const override { return size_of_job(); }
  std::string backend() const override { return "mpi"; }

  void all_reduce(at::Tensor& tensor, Reduce operation) override {
    check_reducible("all_reduce", tensor);
    check_host("all_reduce", tensor);
    if (size() == 1 || tensor.numel() == 0) return;
    const Watch watch(operation_in_flight("all_reduce", tensor.nbytes()));
    const auto element = static_cast<std::int64_t>(tensor.element_size());
    auto* data = static_cast<char*>(tensor.mutable_data_ptr());
    if (static_cast<std::int64_t>(tensor.nbytes()) <= small_reduction_bytes) {
      reduce_small(tensor.scalar_type(), operation, data, tensor.numel(), element);
      return;
    }
    // Every rank owns a share of a piece: it receives that share from all, adds in the order of ranks, and sends the result to all.
    const std::int64_t at_once = std::max<std::int64_t>(1, std::min(piece_bytes.load(), std::int64_t{256} << 20) / element);
    for (std::int64_t first = 0; first < tensor.numel(); first += at_once) {
      reduce_piece(tensor.scalar_type(), operation, data + first * element, std::min(at_once, tensor.numel() - first), element);
    }
  }

  at::Tensor all_gather(const at::Tensor& local) override {
    check_rows("all_gather", local);
    check_host("all_gather", local);
    const at::Tensor own = local.detach().contiguous();
    const Watch watch(operation_in_flight("all_gather", own.nbytes()));
    const auto rows = gather_headers(own);
    const auto bytes = row_bytes(own);
    at::Tensor out = empty_rows(own, total(rows));
    if (out.numel() == 0) return out;
    const std::int64_t limit = piece_bytes;
    auto* target = static_cast<char*>(out.mutable_data_ptr());
    if (static_cast<std::int64_t>(out.nbytes()) <= limit) {
      std::vector<int> counts, starts;
      int start = 0;
      for (const auto count : rows) {
        counts.push_back(static_cast<int>(count * bytes));
        starts.push_back(start);
        start += counts.back();
      }
      check_mpi(MPI_Allgatherv(own.const_data_ptr(), counts[rank()], MPI_BYTE, target, counts.data(), starts.data(), MPI_BYTE, handle_->get()), "all_gather");
      return out;
    }
    for (int root = 0; root < size(); ++root) {
      const std::int64_t length = rows[root] * bytes;
      if (root == rank() && length > 0) std::memcpy(target, own.const_data_ptr(), static_cast<std::size_t>(length));
      broadcast_bytes(target, length, root, "all_gather");
      target += length;
    }
    return out;
  }

  at::Tensor all_to_all(const at::Tensor& send, const std::vector<std::int64_t>& send_counts, const std::vector<std::int64_t>& receive_counts) override {
    check_exchange(send, send_counts, receive_counts, size());
    check_host("all_to_all", send);
    const at::Tensor own = send.detach().contiguous();
    at::Tensor out = empty_rows(own, total(receive_counts));
    const Watch watch(operation_in_flight("all_to_all", own.nbytes()));
    exchange(static_cast<const char*>(own.const_data_ptr()), send_counts, static_cast<char*>(out.mutable_data_ptr()), receive_counts, row_bytes(own));
    return out;
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_in_place("broadcast", tensor);
    check_host("broadcast", tensor);
    check_root("broadcast", root, size());
    const Watch watch(operation_in_flight("broadcast", tensor.nbytes()));
    broadcast_bytes(static_cast<char*>(tensor.mutable_data_ptr()), static_cast<std::int64_t>(tensor.nbytes()), root, "broadcast");
  }

  void barrier() override {
    const Watch watch(operation_in_flight("barrier", -1));
    check_mpi(MPI_Barrier(handle_->get()), "barrier");
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    check_invariant(color >= 0, "split with color ", color);
    const Watch watch(operation_in_flight("split", -1));
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(handle_->get(), color, key, &part), "split");
    return std::make_unique<MpiCommunicator>(std::make_shared<MpiHandle>(part));
  }

  std::unique_ptr<WorkQueue> make_work_queue(std::int64_t count) override {
    check_invariant(count >= 0, "a work queue of ", count, " tickets");
    const Watch watch(operation_in_flight("make_work_queue", -1));
    if (!queue_traffic_) {
      MPI_Comm copy = MPI_COMM_NULL;
      check_mpi(MPI_Comm_dup(handle_->get(), &copy), "make_work_queue");
      queue_traffic_ = std::make_shared<QueueTraffic>(copy, all_gather_strings(node_name()));
    }
    return make_mpi_queue(queue_traffic_, queues_++, count);
  }

 private:
  Operation operation_in_flight(const char* name, std::int64_t bytes) const {
    return {.name = name, .backend = "mpi", .rank = rank(), .size = size(), .bytes = bytes};
  }

  void reduce_small(at::ScalarType dtype, Reduce operation, char* data, std::int64_t count, std::int64_t element) {
    const std::int64_t bytes = count * element;
    std::vector<char> all(static_cast<std::size_t>(bytes * size()));
    check_mpi(MPI_Allgather(data, static_cast<int>(bytes), MPI_BYTE, all.data(), static_cast<int>(bytes), MPI_BYTE, handle_->get()), "all_reduce");
    std::vector<const void*> sources;
    for (int from = 0; from < size(); ++from) sources.push_back(all.data() + from * bytes);
    reduce_in_order(dtype, operation, data, sources, count);
  }

  void reduce_piece(at::ScalarType dtype, Reduce operation, char* data, std::int64_t count, std::int64_t element) {
    const std::int64_t share = (count + size() - 1) / size();
    std::vector<std::int64_t> shares;
    std::vector<int> byte_counts, byte_starts;
    for (int owner = 0; owner < size(); ++owner) {
      const std::int64_t start = std::min(count, owner * share);
      shares.push_back(std::min(count, start + share) - start);
      byte_counts.push_back(static_cast<int>(shares.back() * element));
      byte_starts.push_back(static_cast<int>(start * element));
    }
    const std::int64_t mine = shares[rank()];
    std::vector<char> received(static_cast<std::size_t>(mine * element * size()));
    exchange(data, shares, received.data(), std::vector<std::int64_t>(size(), mine), element);
    std::vector<const void*> sources;
    for (int from = 0; from < size(); ++from) sources.push_back(received.data() + from * mine * element);
    reduce_in_order(dtype, operation, data + byte_starts[rank()], sources, mine);
    check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, data, byte_counts.data(), byte_starts.data(), MPI_BYTE, handle_->get()), "all_reduce");
  }

  // Rows of every rank; throws the same error on all ranks when what they hand in does not fit together.
  std::vector<std::int64_t> gather_headers(const at::Tensor& own) {
    constexpr int fields = 12;
    check_invariant(own.dim() < fields - 2, "all_gather of ", describe_tensor(own), ": at most ", fields - 3, " dimensions");
    std::array<std::int64_t, fields> header{};
    header[0] = own.size(0);
    header[1] = static_cast<std::int64_t>(own.scalar_type());
    header[2] = own.dim();
    for (std::int64_t i = 1; i < own.dim(); ++i) header[2 + i] = own.size(i);
    std::vector<std::array<std::int64_t, fields>> headers(static_cast<std::size_t>(size()));
    check_mpi(MPI_Allgather(header.data(), fields, MPI_INT64_T, headers.data(), fields, MPI_INT64_T, handle_->get()), "all_gather");
    std::vector<std::int64_t> rows;
    for (int other = 0; other < size(); ++other) {
      check_invariant(std::equal(headers[other].begin() + 1, headers[other].end(), headers[0].begin() + 1), "all_gather: ranks disagree: the rows of rank ",
                      other, " differ in dtype or shape from those of rank 0; this rank, ", rank(), ", hands in ", describe_tensor(own));
      rows.push_back(headers[other][0]);
    }
    return rows;
  }

  void exchange(const char* send, const std::vector<std::int64_t>& send_counts, char* receive, const std::vector<std::int64_t>& receive_counts,
                std::int64_t bytes) {
    const std::int64_t limit = piece_bytes;
    std::vector<std::int64_t> send_starts, receive_starts;
    std::int64_t send_start = 0, receive_start = 0;
    for (int other = 0; other < size(); ++other) {
      send_starts.push_back(send_start);
      receive_starts.push_back(receive_start);
      send_start += send_counts[other] * bytes;
      receive_start += receive_counts[other] * bytes;
    }
    const std::int64_t own_bytes = send_counts[rank()] * bytes;
    check_invariant(send_counts[rank()] == receive_counts[rank()], "all_to_all: rank ", rank(), " sends ", send_counts[rank()], " rows to itself and expects ",
                    receive_counts[rank()]);
    std::size_t messages = 0;
    for (int other = 0; other < size(); ++other)
      messages += static_cast<std::size_t>(pieces(send_counts[other] * bytes, limit) + pieces(receive_counts[other] * bytes, limit));
    Requests requests;
    requests.reserve(messages);
    struct Expected {
      int from;
      std::int64_t length;
    };
    std::vector<Expected> expected;
    constexpr int tag = 1;
    // Starting at the neighbour spreads the load: rank 0 is not everybody's first partner.
    for (int step = 1; step < size(); ++step) {
      const int from = (rank() - step + size()) % size();
      for (std::int64_t at = 0; at < receive_counts[from] * bytes; at += limit) {
        const std::int64_t length = std::min(limit, receive_counts[from] * bytes - at);
        check_mpi(MPI_Irecv(receive + receive_starts[from] + at, static_cast<int>(length), MPI_BYTE, from, tag, handle_->get(), requests.add()), "all_to_all");
        expected.push_back({from, length});
      }
    }
    for (int step = 1; step < size(); ++step) {
      const int to = (rank() + step) % size();
      for (std::int64_t at = 0; at < send_counts[to] * bytes; at += limit) {
        const std::int64_t length = std::min(limit, send_counts[to] * bytes - at);
        check_mpi(MPI_Isend(send + send_starts[to] + at, static_cast<int>(length), MPI_BYTE, to, tag, handle_->get(), requests.add()), "all_to_all");
      }
    }
    if (own_bytes > 0) std::memcpy(receive + receive_starts[rank()], send + send_starts[rank()], static_cast<std::size_t>(own_bytes));
    const auto statuses = requests.wait("all_to_all");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      int came = 0;
      check_mpi(MPI_Get_count(&statuses[i], MPI_BYTE, &came), "all_to_all");
      check_invariant(came == expected[i].length, "all_to_all: rank ", expected[i].from, " sent ", came, " bytes where rank ", rank(), " expects ",
                      expected[i].length);
    }
  }

  void broadcast_bytes(char* data, std::int64_t bytes, int root, const char* name) {
    const std::int64_t limit = piece_bytes;
    for (std::int64_t at = 0; at < bytes; at += limit) {
      check_mpi(MPI_Bcast(data + at, static_cast<int>(std::min(limit, bytes - at)), MPI_BYTE, root, handle_->get()), name);
    }
  }

  std::shared_ptr<MpiHandle> handle_;
  std::shared_ptr<QueueTraffic> queue_traffic_;  // made with the first queue, so that groups without one cost nothing
  int queues_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world() {
  start_mpi();
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "make_world");
  return std::make_unique<MpiCommunicator>(std::make_shared<MpiHandle>(copy));
}

std::int64_t set_mpi_piece_bytes(std::int64_t bytes) {
  check_invariant(bytes >= 1 && bytes <= (std::int64_t{1} << 30), "pieces of ", bytes, " bytes");
  return piece_bytes.exchange(bytes);
}

}  // namespace magicid::comm
