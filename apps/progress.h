// What a person sees while a run trains: one live line on a terminal, plain lines elsewhere, nothing when quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace noisysgd {

struct ProgressState {
  int64_t epoch = 0, epochs = 0;  // epoch: from 0
  int64_t step = 0, steps = 0;    // done, of the whole run
  double loss = 0, accuracy = 0;  // of the epoch so far
  double samples_per_second = 0;
  double seconds_left = 0;  // of this run
};

class Progress {
 public:
  enum class Mode { live, lines, quiet };
  static Mode choose(bool quiet);  // live if standard output is a terminal

  Progress(Mode mode, std::string title) : mode_(mode), title_(std::move(title)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const ProgressState& state);  // redraws the live line at most ten times a second
  // A finished epoch: a line that stays, within the columns of a terminal.
  // evaluated_set: what the loss and accuracy beside those of the epoch are of, "test" or "holdout".
  void epoch(const ProgressState& state, const std::string& evaluated_set, double loss, double accuracy);
  void line(const std::string& text);  // above the live line
  ~Progress() { clear(); }             // an error that follows starts at the left edge

 private:
  void clear();

  Mode mode_;
  std::string title_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

// The live line, in fewer than `columns` columns if the title alone is: what matters least is left out.
std::string live_line(const std::string& title, const ProgressState& state, int columns);
// That of an epoch's end, in fewer than `columns` columns if the title, the epoch and what it was evaluated to are.
std::string epoch_line(const std::string& title, const ProgressState& state, const std::string& evaluated_set,
                       double loss, double accuracy, int columns);

std::string format_duration(double seconds);  // "42s", "3m07s", "2h05m"
std::string format_loss(double loss);         // "0.0360", "5.942e+35", "not finite"

}  // namespace noisysgd
