#include "base/errors.h"
#include "base/log.h"
#include "comm/launch.h"
#include "comm/mpi_handle.h"
#include "comm/watchdog.h"
#include "comm/work_queue.h"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace magicid::comm {
namespace {

enum class Request : std::int64_t { draw, close, leave };
constexpr std::int64_t no_ticket = -1;

// MPI guarantees tags up to 32767; by the time a number returns, its first queue is long gone.
constexpr int numbers = 16000;

// The state of the queue on rank 0, used by its program and its server.
class Tickets {
 public:
  explicit Tickets(std::int64_t count) : count_(count) {}
  std::int64_t draw() {
    std::lock_guard lock(mutex_);
    return next_ < count_ ? next_++ : no_ticket;
  }
  void close() {
    std::lock_guard lock(mutex_);
    next_ = count_;
  }

 private:
  std::mutex mutex_;
  std::int64_t next_ = 0;
  const std::int64_t count_;
};

class MpiQueue : public WorkQueue {
 public:
  MpiQueue(std::shared_ptr<MpiHandle> traffic, int number, std::int64_t count)
      : traffic_(std::move(traffic)), request_tag_(2 * (number % numbers)), reply_tag_(request_tag_ + 1), tickets_(count), exceptions_(std::uncaught_exceptions()) {
    if (traffic_->rank() == 0 && traffic_->size() > 1) server_ = std::thread([this] { serve(); });
  }

  ~MpiQueue() override {
    try {
      if (std::uncaught_exceptions() > exceptions_) close();
      if (traffic_->rank() != 0) send(Request::leave);
    } catch (const std::exception& error) {
      base::log::error(base::concat("the work queue cannot be left in order: ", error.what()));
    }
    if (server_.joinable()) {
      const Watch watch({.name = "end of the work queue", .backend = "mpi", .rank = 0, .size = traffic_->size()});
      server_.join();
    }
  }

  std::optional<std::int64_t> next() override {
    std::int64_t ticket = no_ticket;
    if (traffic_->rank() == 0) {
      ticket = tickets_.draw();
    } else {
      const Watch watch({.name = "draw from the work queue", .backend = "mpi", .rank = traffic_->rank(), .size = traffic_->size()});
      send(Request::draw);
      check_mpi(MPI_Recv(&ticket, 1, MPI_INT64_T, 0, reply_tag_, traffic_->get(), MPI_STATUS_IGNORE), "draw from the work queue");
    }
    return ticket == no_ticket ? std::nullopt : std::optional(ticket);
  }

  void close() override {
    if (traffic_->rank() == 0) {
      tickets_.close();
    } else {
      send(Request::close);
    }
  }

 private:
  void send(Request request) {
    const auto value = static_cast<std::int64_t>(request);
    check_mpi(MPI_Send(&value, 1, MPI_INT64_T, 0, request_tag_, traffic_->get()), "draw from the work queue");
  }

  // Looks for requests with short sleeps between: a blocking receive would keep a core busy for as long as rank 0 computes.
  void serve() {
    try {
      const auto idle = std::chrono::microseconds(300);
      for (int left = 0; left < traffic_->size() - 1;) {
        int there = 0;
        MPI_Status status;
        check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, request_tag_, traffic_->get(), &there, &status), "work queue");
        if (!there) {
          std::this_thread::sleep_for(idle);
          continue;
        }
        std::int64_t value = 0;
        check_mpi(MPI_Recv(&value, 1, MPI_INT64_T, status.MPI_SOURCE, request_tag_, traffic_->get(), MPI_STATUS_IGNORE), "work queue");
        switch (static_cast<Request>(value)) {
          case Request::draw: {
            const std::int64_t ticket = tickets_.draw();
            check_mpi(MPI_Send(&ticket, 1, MPI_INT64_T, status.MPI_SOURCE, reply_tag_, traffic_->get()), "work queue");
            break;
          }
          case Request::close: tickets_.close(); break;
          case Request::leave: ++left; break;
        }
      }
    } catch (const std::exception& error) {
      base::log::error(base::concat("the work queue's server on rank 0 failed: ", error.what()));
      abort_job(base::ExitCode::peer);
    }
  }

  std::shared_ptr<MpiHandle> traffic_;
  int request_tag_, reply_tag_;
  Tickets tickets_;
  int exceptions_;
  std::thread server_;
};

}  // namespace

std::unique_ptr<WorkQueue> make_mpi_queue(std::shared_ptr<MpiHandle> traffic, int number, std::int64_t count) {
  return std::make_unique<MpiQueue>(std::move(traffic), number, count);
}

}  // namespace magicid::comm
