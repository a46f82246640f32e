#include "training/signals.h"

#include <csignal>

namespace magicid::training {
namespace {

volatile std::sig_atomic_t received_signal = 0;
struct sigaction earlier_term, earlier_usr1;

void remember(int number) {
  if (received_signal == number) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  received_signal = number;
}

}  // namespace

StopSignals::StopSignals() {
  struct sigaction action {};
  action.sa_handler = remember;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &action, &earlier_term);
  ::sigaction(SIGUSR1, &action, &earlier_usr1);
}

StopSignals::~StopSignals() {
  ::sigaction(SIGTERM, &earlier_term, nullptr);
  ::sigaction(SIGUSR1, &earlier_usr1, nullptr);
}

int StopSignals::received() { return received_signal; }
void StopSignals::clear() { received_signal = 0; }

}  // namespace magicid::training
