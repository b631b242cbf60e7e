// SIGINT and SIGTERM ask a run to end its step, write a checkpoint and leave.
#pragma once

namespace noisysgd {

// While one lives, the signals only set a flag. The flag is the process's own: a signal has no other place to leave a
// word.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

// The signal that arrived, 0 if none.
int interrupt_signal();

}  // namespace noisysgd
