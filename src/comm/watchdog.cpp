#include "comm/watchdog.h"

#include "base/errors.h"
#include "base/log.h"
#include "comm/launch.h"
#include "comm/rank_errors.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace magicid::comm {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// For the release of an operation that is found dead.
constexpr milliseconds release_limit = std::chrono::minutes(1);

milliseconds timeout_from_environment() {
  const char* text = std::getenv("MAGICID_COLLECTIVE_TIMEOUT");
  if (text == nullptr || *text == '\0') return std::chrono::minutes(30);
  char* end = nullptr;
  const double seconds = std::strtod(text, &end);
  if (*end != '\0' || !(seconds > 0) || seconds > 1e9) {
    throw base::UserError("MAGICID_COLLECTIVE_TIMEOUT is \"", text, "\": expected the seconds that a collective may last, more than 0");
  }
  return milliseconds(std::max<std::int64_t>(1, static_cast<std::int64_t>(seconds * 1000)));
}

std::string duration_text(milliseconds time) { return base::concat(static_cast<double>(time.count()) / 1000.0, " s"); }

class Watchdog {
 public:
  // Never destroyed: its thread may outlive main().
  static Watchdog& instance() {
    static auto* watchdog = new Watchdog;
    return *watchdog;
  }

  milliseconds timeout() {
    std::lock_guard lock(mutex_);
    if (!timeout_) timeout_ = timeout_from_environment();
    return *timeout_;
  }

  void set_timeout(milliseconds timeout) {
    base::check_invariant(timeout.count() > 0, "a collective timeout of ", timeout.count(), " ms");
    std::lock_guard lock(mutex_);
    timeout_ = timeout;
    changed_.notify_all();
  }

  ExpiryHandler set_handler(ExpiryHandler handler) {
    std::lock_guard lock(mutex_);
    std::swap(handler, handler_);
    return handler;
  }

  void report(const std::string& message) {
    ExpiryHandler handler;
    {
      std::lock_guard lock(mutex_);
      handler = handler_;
    }
    handler(message);
  }

  std::uint64_t begin(const Operation& operation, std::optional<Polled> polled) {
    const milliseconds limit = timeout();
    std::lock_guard lock(mutex_);
    if (!thread_started_) {
      std::thread([this] { run(); }).detach();
      thread_started_ = true;
    }
    const auto id = ++last_id_;
    entries_.emplace(id, std::make_shared<Entry>(Entry{.operation = operation, .start = Clock::now(), .limit = limit, .polled = std::move(polled)}));
    if (entries_.size() == 1) changed_.notify_all();
    return id;
  }

  void end(std::uint64_t id) {
    std::unique_lock lock(mutex_);
    entries_.erase(id);
    // The watchdog may be inside this entry's functions; its own thread may also be the one that forgets.
    if (std::this_thread::get_id() != thread_id_) idle_.wait(lock, [&] { return busy_with_ != id; });
  }

 private:
  struct Entry {
    Operation operation;
    Clock::time_point start;
    milliseconds limit;
    std::optional<Polled> polled;
    bool reported = false;
  };

  void run() {
    std::unique_lock lock(mutex_);
    thread_id_ = std::this_thread::get_id();
    for (;;) {
      changed_.wait(lock, [&] { return !entries_.empty(); });
      // Short enough to be prompt for the shortest timeout, long enough to cost nothing.
      auto pause = milliseconds(500);
      for (const auto& [id, entry] : entries_)
        pause = std::min(pause, std::max(milliseconds(2), entry->polled ? std::min(entry->limit / 10, milliseconds(20)) : entry->limit / 10));
      changed_.wait_for(lock, pause);
      std::vector<std::uint64_t> ids;
      for (const auto& [id, entry] : entries_) ids.push_back(id);
      for (const auto id : ids) look_at(id, lock);
    }
  }

  void look_at(std::uint64_t id, std::unique_lock<std::mutex>& lock) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second->reported) return;
    const auto entry = found->second;
    PollResult result;
    busy_with_ = id;
    lock.unlock();
    if (entry->polled) result = entry->polled->poll();
    const auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - entry->start);
    std::string reason;
    if (result.state == PollState::failed) reason = result.reason;
    if (result.state == PollState::running && age > entry->limit) {
      reason = base::concat("has waited ", duration_text(age), ", longer than the limit of ", duration_text(entry->limit),
                            ". Another rank was lost, hangs or took another path (its own log says more); if ranks may really arrive that far apart, raise the "
                            "collective timeout (MAGICID_COLLECTIVE_TIMEOUT, in seconds)");
    }
    lock.lock();
    // Decided before on_failure releases who is blocked: the entry may be gone the moment after, and the report must come all the same.
    const bool report_now = !reason.empty() && entries_.contains(id);
    entry->reported = report_now;
    if (result.state == PollState::finished) entries_.erase(id);
    const ExpiryHandler handler = handler_;
    if (report_now) {
      lock.unlock();
      std::future<void> released;
      if (entry->polled) released = std::async(std::launch::async, entry->polled->on_failure, reason);
      const milliseconds patience = std::min(entry->limit, release_limit);
      const bool in_time = !released.valid() || released.wait_for(patience) == std::future_status::ready;
      handler(base::concat(describe_operation(entry->operation), ": ", reason,
                           in_time ? "" : base::concat("; giving it up has not ended within ", duration_text(patience), " either")));
      if (released.valid()) released.get();
      lock.lock();
    }
    busy_with_ = 0;
    idle_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_, idle_;
  std::map<std::uint64_t, std::shared_ptr<Entry>> entries_;
  std::optional<milliseconds> timeout_;
  std::uint64_t last_id_ = 0, busy_with_ = 0;
  std::thread::id thread_id_;
  bool thread_started_ = false;
  ExpiryHandler handler_ = [](const std::string& message) {
    base::log::error(message);
    abort_job(base::ExitCode::peer);
  };
};

}  // namespace

std::chrono::milliseconds collective_timeout() { return Watchdog::instance().timeout(); }

void set_collective_timeout(std::chrono::milliseconds timeout) { Watchdog::instance().set_timeout(timeout); }

std::string describe_operation(const Operation& operation) {
  const auto launched = launched_processes();
  const bool of_a_group = launched.count > 1 && (operation.size != launched.count || operation.rank != launched.rank);
  std::string who = base::concat("rank ", operation.rank, " of ", operation.size, " (");
  if (of_a_group) who = base::concat("rank ", launched.rank, " of ", launched.count, " (rank ", operation.rank, " of a group of ", operation.size, ", ");
  who += base::concat("node ", node_name(), "): ", operation.name);
  if (operation.bytes >= 0) who += base::concat(" of ", operation.bytes, " bytes");
  return base::concat(who, " over ", operation.backend);
}

ExpiryHandler set_expiry_handler(ExpiryHandler handler) { return Watchdog::instance().set_handler(std::move(handler)); }

void report_expiry(const std::string& message) { Watchdog::instance().report(message); }

Watch::Watch(const Operation& operation) : id_(Watchdog::instance().begin(operation, std::nullopt)) {}
Watch::~Watch() { Watchdog::instance().end(id_); }

std::uint64_t watch_polled(Polled polled) {
  const Operation operation = polled.operation;
  return Watchdog::instance().begin(operation, std::move(polled));
}

void forget(std::uint64_t id) { Watchdog::instance().end(id); }

}  // namespace magicid::comm
