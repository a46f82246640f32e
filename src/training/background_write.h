// One write at a time on a thread of its own, beside the program.
#pragma once

#include <exception>
#include <functional>
#include <future>

namespace magicid::training {

class BackgroundWrite {
 public:
  BackgroundWrite() = default;
  // Waits for the write in flight; an error that nobody asked for is logged.
  ~BackgroundWrite();
  BackgroundWrite(const BackgroundWrite&) = delete;
  BackgroundWrite& operator=(const BackgroundWrite&) = delete;

  // Starts `write` on another thread, after the one in flight has ended. Where the system gives no thread, it runs in finish(). `write` must not
  // communicate with other ranks nor touch what the caller goes on to change; it is destroyed when it has ended.
  void start(std::function<void()> write);
  // Waits for the write in flight, if any. Returns false when a write failed; its error then waits for rethrow().
  bool finish();
  // finish(), then throws the first error of a write, once.
  void rethrow();

 private:
  std::future<void> writing_;
  std::exception_ptr error_;
};

}  // namespace magicid::training
