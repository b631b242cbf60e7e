// After SIGINT, SIGTERM or SIGHUP, a run ends its step, writes a checkpoint and exits.
//
// No handler runs on a thread that computes: libraries may keep data at such a thread's stack pointer (oneDNN's matrix
// product does). The signals are blocked in every thread, and one thread waits for them.
#pragma once

#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

namespace noisysgd {

// Handles the signals of the process. Create it once, before other threads start: they inherit the blocked signals. A
// signal that was ignored when the program began (nohup, background jobs) stays ignored.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // While a Hold exists, a signal is stored for received(); otherwise it ends the process at once. After the first
  // stored signal the program is exiting, and later signals have no effect. The exception is a SIGINT more than a
  // second after the first signal (Ctrl-C again), which ends the process at once.
  class Hold {
   public:
    explicit Hold(Interrupts* interrupts);  // null: does nothing
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Interrupts* interrupts_;
  };

  // The first signal that came during a Hold; 0 if none.
  int received() const { return received_; }

 private:
  void wait_for_signals();

  std::vector<int> taken_;  // the signals handled here; signals_: the same as a set
  sigset_t signals_, mask_before_;
  std::atomic<int> holds_ = 0, received_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace noisysgd
