// SIGINT, SIGTERM and SIGHUP ask a run to end its step, write a checkpoint and leave.
//
// No handler runs on a thread that computes: libraries may keep data where such a thread's stack pointer is (a product
// of matrices in oneDNN does). The signals are blocked in every thread, and one thread waits for them.
#pragma once

#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

namespace noisysgd {

// The signals of the process. To be made once, before the process has other threads: those inherit what is blocked
// here. A signal that was ignored when the program began (nohup, background jobs) stays ignored.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // While one lives, a signal is kept for received(); at other times it ends the process at once. Once one is kept, the
  // program is on its way out and later ones change nothing, but for a SIGINT that comes more than a second after the
  // first: a person who presses Ctrl-C again. It ends the process at once.
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

  std::vector<int> taken_;  // the signals, and the same as a set
  sigset_t signals_, mask_before_;
  std::atomic<int> holds_ = 0, received_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace noisysgd
