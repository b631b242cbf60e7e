// The progress output of a run: one live line on a terminal; elsewhere plain lines with the time of day, one at least
// every 30 seconds and for each epoch; nothing when quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace noisysgd {

struct ProgressState {
  int64_t epoch = 0, epochs = 0;  // epoch: from 0
  int64_t step = 0, steps = 0;    // steps done, steps of the whole run
  double loss = 0, accuracy = 0;  // of the epoch so far
  double samples_per_second = 0;
  double seconds_left = 0;        // of this run
  double seconds_left_after = 0;  // of the runs that follow it
};

class Progress {
 public:
  enum class Mode { live, lines, quiet };
  static Mode choose(bool quiet);  // live if standard output is a terminal

  using Clock = std::chrono::steady_clock;

  Progress(Mode mode, std::string title, Clock::time_point now = Clock::now())
      : mode_(mode), title_(std::move(title)), last_(mode == Mode::live ? Clock::time_point{} : now) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Redraws the live line at most ten times a second, or prints a line every 30 seconds. Asks for the state only then.
  void step(const std::function<ProgressState()>& state, Clock::time_point now = Clock::now());
  // Prints a line for a finished epoch, which stays. It is shortened to the width of the terminal, or to 80 columns.
  // evaluated_set: "test" or "holdout", the set that loss and accuracy belong to.
  void epoch(const ProgressState& state, const std::string& evaluated_set, double loss, double accuracy);
  void line(const std::string& text);  // above the live line
  ~Progress() { clear(); }             // an error that follows starts at the left edge

 private:
  void clear();
  void stamped(const std::string& text);

  Mode mode_;
  std::string title_;
  bool drawn_ = false;
  Clock::time_point last_;  // of a line from step
};

// The line of a step, with a bar on a terminal. The least important parts are left out until it has fewer than
// `columns` columns, but never the title.
std::string step_line(const std::string& title, const ProgressState& state, bool with_bar, int columns);
// The line at the end of an epoch, shortened in the same way, but never without title, epoch and evaluation.
std::string epoch_line(const std::string& title, const ProgressState& state, const std::string& evaluated_set,
                       double loss, double accuracy, int columns);

std::string format_duration(double seconds);  // "42s", "3m07s", "2h05m"
std::string format_loss(double loss);         // "0.0360", "5.942e+35", "not finite"

}  // namespace noisysgd
