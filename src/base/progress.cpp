#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/log.h"

namespace magicid::base {

std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  char text[32];
  if (s < 60) std::snprintf(text, sizeof text, "%llds", static_cast<long long>(s));
  else if (s < 3600) std::snprintf(text, sizeof text, "%lldm%02llds", static_cast<long long>(s / 60), static_cast<long long>(s % 60));
  else std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(s / 3600), static_cast<long long>(s % 3600 / 60));
  return text;
}

Progress::Progress(std::string label, std::int64_t total, bool visible, std::int64_t done)
    : label_(std::move(label)),
      total_(total),
      done_(done),
      first_(done),
      visible_(visible),
      terminal_(isatty(2) == 1),
      start_(std::chrono::steady_clock::now()),
      shown_(start_ - std::chrono::hours(1)) {
  if (visible_ && total_ > 0) show(false);
}

Progress::~Progress() {
  if (!visible_ || total_ <= 0) return;
  show(true);
  if (terminal_) std::fputc('\n', stderr);
}

void Progress::advance(std::int64_t steps, const std::string& note) { set(done_ + steps, note); }

void Progress::set(std::int64_t done, const std::string& note) {
  done_ = done;
  if (!note.empty()) note_ = note;
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (visible_ && std::chrono::steady_clock::now() - shown_ >= pause) show(false);
}

void Progress::show(bool last) {
  const auto now = std::chrono::steady_clock::now();
  shown_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_ - first_) / seconds : 0;
  std::string tail;
  if (rate > 0) {
    char text[48];
    std::snprintf(text, sizeof text, " %.3g/s", rate);
    tail += text;
    // Only what reached its end "took" a time: the last line of work that failed must not read like success.
    tail += last ? (done_ >= total_ ? ", took " : ", stopped after ") + format_duration(seconds)
                 : ", " + format_duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!note_.empty()) tail += ", " + note_;
  if (!terminal_) {
    log::info(label_ + " " + std::to_string(done_) + "/" + std::to_string(total_) + tail);
    return;
  }
  const int width = 28;
  const int filled = static_cast<int>(width * std::min<double>(1.0, total_ > 0 ? static_cast<double>(done_) / static_cast<double>(total_) : 1.0));
  std::fprintf(stderr, "\r\033[K%s [%s%s] %lld/%lld%s", label_.c_str(), std::string(filled, '#').c_str(), std::string(width - filled, '.').c_str(),
               static_cast<long long>(done_), static_cast<long long>(total_), tail.c_str());
  std::fflush(stderr);
}

}  // namespace magicid::base
