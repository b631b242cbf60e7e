#include <noisysgd/apps/progress.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <span>
#include <string_view>

#include <noisysgd/apps/console.h>

namespace noisysgd {

namespace {

std::string bar(double fraction, int width) {
  std::string text;
  const int full = static_cast<int>(fraction * width);
  for (int i = 0; i < width; ++i) text += i < full ? "━" : "╌";
  return text;
}

// The number of characters of UTF-8 text.
int columns_of(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

struct Part {
  std::string text;
  int rank;  // parts of the highest rank are left out first; rank 0 always stays
};

// Joins the parts, leaving out ranks until the line has fewer than `columns` columns.
std::string fitting(std::span<const Part> parts, int columns) {
  int last = 0;
  for (const Part& part : parts) last = std::max(last, part.rank);
  for (int rank = last;; --rank) {
    std::string line;
    for (const Part& part : parts)
      if (part.rank <= rank) line += part.text;
    if (columns_of(line) < columns || rank == 0) return line;
  }
}

}  // namespace

std::string live_line(const std::string& title, const ProgressState& state, int columns) {
  const double done = static_cast<double>(state.step) / static_cast<double>(state.steps);
  const Part parts[]{{title, 0},
                     {" " + bar(done, 20), 5},
                     {fmt::format(" epoch {}/{}", state.epoch + 1, state.epochs), 2},
                     {fmt::format(" step {}/{}", state.step, state.steps), 6},
                     {fmt::format(" loss {}", format_loss(state.loss)), 1},
                     {fmt::format(" acc {:.2f}%", 100 * state.accuracy), 3},
                     {fmt::format(" {:.0f} samples/s", state.samples_per_second), 7},
                     {fmt::format(" {} left", format_duration(state.seconds_left)), 4}};
  return fitting(parts, columns);
}

std::string epoch_line(const std::string& title, const ProgressState& state, const std::string& evaluated_set,
                       double loss, double accuracy, int columns) {
  const Part parts[]{
      {fmt::format("{} epoch {}/{}", title, state.epoch + 1, state.epochs), 0},
      {fmt::format("  train loss {}", format_loss(state.loss)), 1},
      {fmt::format(" acc {:.2f}%", 100 * state.accuracy), 2},
      {fmt::format("  {} loss {} acc {:.2f}%", evaluated_set, format_loss(loss), 100 * accuracy), 0},
      {fmt::format("  {:.0f} samples/s", state.samples_per_second), 3}};
  return fitting(parts, columns);
}

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
  return quiet ? Mode::quiet : is_live_terminal(stdout) ? Mode::live : Mode::lines;
}

void Progress::step(const ProgressState& state) {
  const auto now = std::chrono::steady_clock::now();
  if (mode_ != Mode::live || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  draw_line(stdout, live_line(title_, state, terminal_width(stdout)));
  drawn_ = true;
}

void Progress::epoch(const ProgressState& state, const std::string& evaluated_set, double loss, double accuracy) {
  const int columns = mode_ == Mode::live ? terminal_width(stdout) : std::numeric_limits<int>::max();
  line(epoch_line(title_, state, evaluated_set, loss, accuracy, columns));
}

void Progress::line(const std::string& text) {
  if (mode_ == Mode::quiet) return;
  clear();
  print_out("{}\n", text);
  std::fflush(stdout);
}

void Progress::clear() {
  if (drawn_) clear_line(stdout);
  drawn_ = false;
}

}  // namespace noisysgd
