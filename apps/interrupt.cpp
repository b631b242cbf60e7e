#include "apps/interrupt.h"

#include <csignal>

namespace noisysgd {

namespace {

volatile std::sig_atomic_t received = 0;

void receive(int signal) {
  received = signal;
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

}  // namespace

InterruptGuard::InterruptGuard() {
  received = 0;
  std::signal(SIGINT, receive);
  std::signal(SIGTERM, receive);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

int interrupt_signal() { return received; }

}  // namespace noisysgd
