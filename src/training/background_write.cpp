#include "training/background_write.h"

#include <utility>

#include "base/log.h"

namespace magicid::training {

BackgroundWrite::~BackgroundWrite() {
  if (finish()) return;
  try {
    std::rethrow_exception(error_);
  } catch (const std::exception& error) {
    base::log::warning(error.what());
  } catch (...) {
    base::log::warning("a write failed for an unknown reason");
  }
}

void BackgroundWrite::start(std::function<void()> write) {
  finish();
  writing_ = std::async(std::launch::async | std::launch::deferred, std::move(write));
}

bool BackgroundWrite::finish() {
  if (writing_.valid()) {
    try {
      writing_.get();
    } catch (...) {
      if (!error_) error_ = std::current_exception();
    }
  }
  return !error_;
}

void BackgroundWrite::rethrow() {
  if (!finish()) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace magicid::training
