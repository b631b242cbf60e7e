#include "apps/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace noisysgd {

namespace {

std::string bar(double fraction, int width) {
  std::string text;
  const int full = static_cast<int>(fraction * width);
  for (int i = 0; i < width; ++i) text += i < full ? "━" : "╌";
  return text;
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

std::string format_loss(double loss) {
  if (!std::isfinite(loss)) return "not finite";
  return loss < 1e5 ? fmt::format("{:.4f}", loss) : fmt::format("{:.3e}", loss);
}

Progress::Mode Progress::choose(bool quiet) {
  return quiet ? Mode::quiet : isatty(STDOUT_FILENO) ? Mode::live : Mode::lines;
}

void Progress::step(const ProgressState& state) {
  const auto now = std::chrono::steady_clock::now();
  if (mode_ != Mode::live || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double done = static_cast<double>(state.step) / static_cast<double>(state.steps);
  fmt::print("\r\033[K{} {} epoch {}/{} step {}/{} loss {} acc {:.2f}% {:.0f} samples/s {} left", title_, bar(done, 20),
             state.epoch + 1, state.epochs, state.step, state.steps, format_loss(state.loss), 100 * state.accuracy,
             state.samples_per_second, format_duration(state.seconds_left));
  std::fflush(stdout);
  drawn_ = true;
}

void Progress::epoch(const ProgressState& state, const std::string& evaluated_set, double loss, double accuracy) {
  line(fmt::format("{} epoch {}/{}  train loss {} acc {:.2f}%  {} loss {} acc {:.2f}%  {:.0f} samples/s", title_,
                   state.epoch + 1, state.epochs, format_loss(state.loss), 100 * state.accuracy, evaluated_set,
                   format_loss(loss), 100 * accuracy, state.samples_per_second));
}

void Progress::line(const std::string& text) {
  if (mode_ == Mode::quiet) return;
  clear();
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

void Progress::clear() {
  if (drawn_) fmt::print("\r\033[K");
  drawn_ = false;
}

}  // namespace noisysgd
