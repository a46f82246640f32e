// Internal to the work queues: which ranks of a group still work, and when each gave its last sign of life.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace magicid::comm {

// Several threads may use one object.
class Attendance {
 public:
  // All `size` ranks work, and give their first sign of life now.
  explicit Attendance(int size);

  void alive(int rank);
  void finish(int rank);
  bool all_finished() const;
  // Of the ranks that have not finished the one whose last sign of life is the oldest, if that is longer ago than collective_timeout().
  std::optional<int> silent() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Rank {
    Clock::time_point last_sign;
    bool finished = false;
  };

  mutable std::mutex mutex_;
  std::vector<Rank> ranks_;
};

// Why the wait for `silent` of `size` ranks is given up, said by rank `waiting`. `node`: the silent rank's.
std::string describe_silence(const std::string& what, int waiting, int silent, int size, const std::string& node);

}  // namespace magicid::comm
