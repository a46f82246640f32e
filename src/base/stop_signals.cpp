#include "base/stop_signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <iterator>

#include "base/errors.h"

namespace magicid::base {
namespace {

constexpr int stop_signals[] = {SIGTERM, SIGUSR1, SIGINT};

volatile std::sig_atomic_t received_signal = 0, stop_is_answered = 0;
struct sigaction earlier_actions[std::size(stop_signals)];
std::atomic<int> stop_depth = 0;  // the outermost object installs and restores
thread_local int stop_points = 0;

void note_stop_signal(int number) {
  if (received_signal == number) {
    std::signal(number, SIG_DFL);
    std::raise(number);
    return;
  }
  if (stop_is_answered != 0 && received_signal == 0) {
    static constexpr char text[] = "\nasked to stop: what is finished is saved first. The same signal again ends the program at once.\n";
    if (::write(STDERR_FILENO, text, sizeof text - 1) < 0) stop_is_answered = 0;  // nobody reads it
  }
  received_signal = number;
}

}  // namespace

StopSignals::StopSignals(bool speaks) {
  if (stop_depth++ > 0) return;
  stop_is_answered = speaks ? 1 : 0;
  struct sigaction action{};
  action.sa_handler = note_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < std::size(stop_signals); ++i) ::sigaction(stop_signals[i], &action, &earlier_actions[i]);
}

StopSignals::~StopSignals() {
  if (--stop_depth > 0) return;
  for (std::size_t i = 0; i < std::size(stop_signals); ++i) ::sigaction(stop_signals[i], &earlier_actions[i], nullptr);
}

int StopSignals::received() { return received_signal; }
void StopSignals::clear() { received_signal = 0; }

StopPoints::StopPoints() { ++stop_points; }
StopPoints::~StopPoints() { --stop_points; }

void stop_if_asked(const std::string& what) {
  if (stop_points > 0 && received_signal != 0)
    throw RequeueRequest(what, ": stopped on request; finished work is kept. Start the same command again to go on.");
}

}  // namespace magicid::base
