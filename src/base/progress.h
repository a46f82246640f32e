// Progress of long work: a bar with rate and time left on a terminal, a plain line every few seconds otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace magicid::base {

class Progress {
 public:
  // `visible` is false on ranks that should stay silent. `done` counts what an earlier run finished. The last line, at the end of its life, says how long it
  // took, or, where not all is done, after what time it stopped.
  Progress(std::string label, std::int64_t total, bool visible, std::int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` is shown after the figures, e.g. "loss 0.693".
  void advance(std::int64_t steps = 1, const std::string& note = {});
  void set(std::int64_t done, const std::string& note = {});

 private:
  void show(bool last);

  std::string label_, note_;
  std::int64_t total_, done_, first_;
  bool visible_, terminal_;
  std::chrono::steady_clock::time_point start_, shown_;
};

// 75 -> "1m15s", 3700 -> "1h01m".
std::string format_duration(double seconds);

}  // namespace magicid::base
