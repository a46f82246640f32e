#include "comm/attendance.h"

#include "base/errors.h"
#include "comm/watchdog.h"

namespace magicid::comm {

Attendance::Attendance(int size) : ranks_(static_cast<std::size_t>(size), Rank{.last_sign = Clock::now()}) {}

void Attendance::alive(int rank) {
  std::lock_guard lock(mutex_);
  ranks_[static_cast<std::size_t>(rank)].last_sign = Clock::now();
}

void Attendance::finish(int rank) {
  std::lock_guard lock(mutex_);
  ranks_[static_cast<std::size_t>(rank)].finished = true;
}

bool Attendance::all_finished() const {
  std::lock_guard lock(mutex_);
  for (const auto& rank : ranks_)
    if (!rank.finished) return false;
  return true;
}

std::optional<int> Attendance::silent() const {
  const auto limit = collective_timeout();
  const auto now = Clock::now();
  std::lock_guard lock(mutex_);
  std::optional<std::size_t> oldest;
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank)
    if (!ranks_[rank].finished && now - ranks_[rank].last_sign > limit && (!oldest || ranks_[rank].last_sign < ranks_[*oldest].last_sign)) oldest = rank;
  return oldest ? std::optional(static_cast<int>(*oldest)) : std::nullopt;
}

std::string describe_silence(const std::string& what, int waiting, int silent, int size, const std::string& node) {
  return base::concat(
      what, ": rank ", silent, " of ", size, " (node ", node, ") has not finished and has given no sign of life for more than the limit of ",
      static_cast<double>(collective_timeout().count()) / 1000.0, " s, while rank ", waiting,
      " waits for it. It hangs or was lost (its own log says more); if one step of its work may really take that long, raise the collective timeout "
      "(mesh.collective_timeout, or MAGICID_COLLECTIVE_TIMEOUT, in seconds)");
}

}  // namespace magicid::comm
