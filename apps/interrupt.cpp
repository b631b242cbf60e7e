#include <noisysgd/apps/interrupt.h>

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

namespace noisysgd {
namespace {

constexpr int kinds[]{SIGINT, SIGTERM, SIGHUP};

// The waiting thread, for forward(): a signal handler takes no argument of its own.
std::atomic<pthread_t> waiting_thread;

// Runs only on threads that a library started before main(), which do not block the signals. Passes the signal on.
void forward(int signal) {
  const int kept = errno;
  pthread_kill(waiting_thread, signal);
  errno = kept;
}

void set_action(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

[[noreturn]] void end_process(int signal) {
  set_action(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  raise(signal);
  _exit(128 + signal);  // not reached: the default action of all three ends the process
}

}  // namespace

Interrupts::Interrupts() {
  sigemptyset(&signals_);
  for (const int signal : kinds)
    if (!is_ignored(signal)) taken_.push_back(signal);
  for (const int signal : taken_) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
  if (taken_.empty()) return;
  thread_ = std::thread([this] { wait_for_signals(); });
  waiting_thread = thread_.native_handle();
  for (const int signal : taken_) set_action(signal, forward);
}

Interrupts::~Interrupts() {
  for (const int signal : taken_) set_action(signal, SIG_DFL);
  over_ = true;
  if (thread_.joinable()) {
    pthread_kill(thread_.native_handle(), taken_.front());  // wakes it
    thread_.join();
  }
  pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

void Interrupts::wait_for_signals() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point first;
  while (true) {
    int signal = 0;
    if (sigwait(&signals_, &signal) != 0) continue;
    if (over_) return;
    if (received_ == 0) {
      if (holds_ == 0) end_process(signal);
      received_ = signal;
      first = Clock::now();
    } else if (signal == SIGINT && Clock::now() - first > std::chrono::seconds(1)) {
      end_process(signal);
    }
  }
}

Interrupts::Hold::Hold(Interrupts* interrupts) : interrupts_(interrupts) {
  if (interrupts_) ++interrupts_->holds_;
}

Interrupts::Hold::~Hold() {
  if (interrupts_) --interrupts_->holds_;
}

}  // namespace noisysgd
