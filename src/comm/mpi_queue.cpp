#include "base/errors.h"
#include "base/log.h"
#include "comm/attendance.h"
#include "comm/launch.h"
#include "comm/mpi_handle.h"
#include "comm/watchdog.h"
#include "comm/work_queue.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace magicid::comm {
namespace {

using Clock = std::chrono::steady_clock;

enum class Request : std::int64_t { draw, close, leave, alive, finish, ask };
constexpr std::int64_t no_ticket = -1;
// Answers to Request::ask, beside the number of a rank that gives no sign of life.
constexpr std::int64_t some_work = -1, all_finished = -2;

// MPI guarantees tags up to 32767; by the time a number returns, its first queue is long gone.
constexpr int numbers = 16000;

// How long rank 0, whose error passes, waits for the others to leave its queue.
constexpr auto patience_in_failure = std::chrono::seconds(1);

// Servers that outlived their queue.
std::atomic<int>& lone_servers() {
  static std::atomic<int> count{0};
  return count;
}

// A queue as rank 0 holds it: used by the program there and by its server, which may outlive the queue.
class QueueServer {
 public:
  QueueServer(std::shared_ptr<QueueTraffic> traffic, int request_tag, std::int64_t count)
      : traffic_(std::move(traffic)), request_tag_(request_tag), count_(count), attendance_(traffic_->handle.size()) {}

  std::int64_t draw(int rank) {
    attendance_.alive(rank);
    std::lock_guard lock(mutex_);
    return next_ < count_ ? next_++ : no_ticket;
  }
  void close() {
    std::lock_guard lock(mutex_);
    next_ = count_;
  }
  void alive(int rank) { attendance_.alive(rank); }
  void finish(int rank) { attendance_.finish(rank); }
  std::int64_t ask() const {
    if (attendance_.all_finished()) return all_finished;
    const auto silent = attendance_.silent();
    return silent ? *silent : some_work;
  }

  // Answers the other ranks until all have left. Looks for requests with short sleeps between: a blocking receive would keep a core busy for as long as rank 0
  // computes.
  void serve() {
    try {
      const auto idle = std::chrono::microseconds(300);
      for (int left = 0; left < traffic_->handle.size() - 1;) {
        int there = 0;
        MPI_Status status;
        check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, request_tag_, comm(), &there, &status), "work queue");
        if (!there) {
          std::this_thread::sleep_for(idle);
          continue;
        }
        std::int64_t value = 0;
        check_mpi(MPI_Recv(&value, 1, MPI_INT64_T, status.MPI_SOURCE, request_tag_, comm(), MPI_STATUS_IGNORE), "work queue");
        if (static_cast<Request>(value) == Request::leave) ++left;
        else answer(static_cast<Request>(value), status.MPI_SOURCE);
      }
    } catch (const std::exception& error) {
      base::log::error(base::concat("the work queue's server on rank 0 failed: ", error.what()));
      abort_job(base::ExitCode::peer);
    }
    std::lock_guard lock(mutex_);
    ended_ = true;
    if (let_go_) --lone_servers();
    changed_.notify_all();
  }
  // From now on its end is nobody's but wait_for_queue_servers()'s. The traffic stays, for freeing it is collective.
  void let_go() {
    static auto* kept = new std::vector<std::shared_ptr<QueueTraffic>>;
    std::lock_guard lock(mutex_);
    kept->push_back(traffic_);
    let_go_ = true;
    if (!ended_) ++lone_servers();
  }
  bool ends_within(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return ended_; });
  }

 private:
  MPI_Comm comm() const { return traffic_->handle.get(); }
  void answer(Request request, int rank) {
    switch (request) {
      case Request::draw: reply(rank, draw(rank)); break;
      case Request::close: close(); break;
      case Request::alive: alive(rank); break;
      case Request::finish: finish(rank); break;
      case Request::ask: reply(rank, ask()); break;
      case Request::leave: break;  // serve() counts these
    }
  }
  void reply(int rank, std::int64_t value) { check_mpi(MPI_Send(&value, 1, MPI_INT64_T, rank, request_tag_ + 1, comm()), "work queue"); }

  std::shared_ptr<QueueTraffic> traffic_;
  int request_tag_;
  const std::int64_t count_;
  Attendance attendance_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t next_ = 0;
  bool ended_ = false, let_go_ = false;
};

class MpiQueue : public WorkQueue {
 public:
  MpiQueue(std::shared_ptr<QueueTraffic> traffic, int number, std::int64_t count)
      : traffic_(std::move(traffic)), request_tag_(2 * (number % numbers)), exceptions_(std::uncaught_exceptions()) {
    if (rank() != 0) return;
    server_ = std::make_shared<QueueServer>(traffic_, request_tag_, count);
    if (size() > 1) thread_ = std::thread([server = server_] { server->serve(); });
  }

  ~MpiQueue() override {
    const bool failing = std::uncaught_exceptions() > exceptions_;
    try {
      if (failing) close();
      if (rank() != 0) send(Request::leave);
    } catch (const std::exception& error) {
      base::log::error(base::concat("the work queue cannot be left in order: ", error.what()));
    }
    if (!thread_.joinable()) return;
    if (failing && !server_->ends_within(patience_in_failure)) {
      // The others may wait in a collective for this rank, whose error has to get out. Those that still work are answered meanwhile.
      server_->let_go();
      thread_.detach();
      return;
    }
    const Watch watch(in_flight("end of the work queue"));
    thread_.join();
  }

  std::optional<std::int64_t> next() override {
    const std::int64_t ticket = rank() == 0 ? server_->draw(0) : ask_server(Request::draw, "draw from the work queue");
    last_sign_ = Clock::now();
    return ticket == no_ticket ? std::nullopt : std::optional(ticket);
  }

  void close() override {
    if (rank() == 0) server_->close();
    else send(Request::close);
  }

  void alive() override {
    if (rank() == 0) {
      server_->alive(0);
      return;
    }
    // Few messages: enough for the shortest limit.
    const auto now = Clock::now();
    if (now - last_sign_ < std::min<std::chrono::milliseconds>(std::chrono::seconds(1), collective_timeout() / 10)) return;
    last_sign_ = now;
    send(Request::alive);
  }

  void wait_for_all(const std::string& what) override {
    if (rank() == 0) server_->finish(0);
    else send(Request::finish);
    const auto longest_pause = std::chrono::milliseconds(100);
    bool reported = false;
    for (auto pause = std::chrono::milliseconds(1);; pause = std::min(2 * pause, longest_pause)) {
      const std::int64_t state = rank() == 0 ? server_->ask() : ask_server(Request::ask, "wait for the work queue");
      if (state == all_finished) return;
      if (state >= 0 && !reported) {
        report_expiry(describe_silence(what, rank(), static_cast<int>(state), size(), traffic_->nodes.at(static_cast<std::size_t>(state))));
        reported = true;
      }
      std::this_thread::sleep_for(pause);
    }
  }

 private:
  int rank() const { return traffic_->handle.rank(); }
  int size() const { return traffic_->handle.size(); }
  Operation in_flight(const char* name) const { return {.name = name, .backend = "mpi", .rank = rank(), .size = size()}; }

  void send(Request request) {
    const auto value = static_cast<std::int64_t>(request);
    check_mpi(MPI_Send(&value, 1, MPI_INT64_T, 0, request_tag_, traffic_->handle.get()), "draw from the work queue");
  }
  std::int64_t ask_server(Request request, const char* name) {
    const Watch watch(in_flight(name));
    std::int64_t answer = 0;
    send(request);
    check_mpi(MPI_Recv(&answer, 1, MPI_INT64_T, 0, request_tag_ + 1, traffic_->handle.get(), MPI_STATUS_IGNORE), name);
    return answer;
  }

  std::shared_ptr<QueueTraffic> traffic_;
  int request_tag_;
  int exceptions_;
  std::shared_ptr<QueueServer> server_;  // on rank 0
  std::thread thread_;
  Clock::time_point last_sign_ = Clock::now();
};

}  // namespace

std::unique_ptr<WorkQueue> make_mpi_queue(std::shared_ptr<QueueTraffic> traffic, int number, std::int64_t count) {
  return std::make_unique<MpiQueue>(std::move(traffic), number, count);
}

void wait_for_queue_servers(std::chrono::milliseconds patience) {
  const auto start = Clock::now();
  while (lone_servers() > 0 && Clock::now() - start < patience) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace magicid::comm
