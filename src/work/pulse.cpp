#include "work/pulse.h"

#include <ATen/ops/full.h>

#include <utility>

#include "base/errors.h"
#include "base/stop_signals.h"
#include "work/patience.h"

namespace magicid::work {

Pulse::Pulse(std::string what, comm::WorkQueue& queue, comm::Communicator* together)
    : what_(std::move(what)), queue_(queue), together_(together != nullptr && together->size() > 1 ? together : nullptr) {}

void Pulse::beat() { queue_.alive(); }

void Pulse::beat_or_stop() {
  beat();
  bool asked = base::StopSignals::received() != 0;
  if (together_ != nullptr) {
    at::Tensor any = at::full({1}, asked ? 1 : 0, at::kLong);
    together_->all_reduce(any, comm::Reduce::maximum);
    asked = any.item<std::int64_t>() != 0;
  }
  if (asked) throw_stopped(what_);
}

void throw_stopped(const std::string& what) {
  throw base::RequeueRequest(what, ": stopped on request; finished work is kept. Start the same command again to go on.");
}

void agree_with_patience(comm::Communicator& world, const std::string& what, comm::WorkQueue& queue, const std::function<void()>& work) {
  comm::agree(world, what, [&] {
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
      queue.close();
    }
    try {
      queue.wait_for_all(what);
    } catch (...) {
      if (!error) throw;
    }
    if (error) std::rethrow_exception(error);
  });
}

void agree_with_patience(comm::Communicator& world, const std::string& what, const std::function<void(Pulse&)>& work) {
  const auto queue = world.make_work_queue(0);
  Pulse pulse(what, *queue);
  agree_with_patience(world, what, *queue, [&] { work(pulse); });
}

}  // namespace magicid::work
