#include "work/signals.h"

#include <atomic>
#include <csignal>

namespace magicid::work {
namespace {

volatile std::sig_atomic_t received_signal = 0;
struct sigaction earlier_term, earlier_usr1;
std::atomic<int> depth = 0;  // the outermost object installs and restores

void remember(int number) {
  if (received_signal == number) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  received_signal = number;
}

}  // namespace

StopSignals::StopSignals() {
  if (depth++ > 0) return;
  struct sigaction action {};
  action.sa_handler = remember;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &action, &earlier_term);
  ::sigaction(SIGUSR1, &action, &earlier_usr1);
}

StopSignals::~StopSignals() {
  if (--depth > 0) return;
  ::sigaction(SIGTERM, &earlier_term, nullptr);
  ::sigaction(SIGUSR1, &earlier_usr1, nullptr);
}

int StopSignals::received() { return received_signal; }
void StopSignals::clear() { received_signal = 0; }

}  // namespace magicid::work
