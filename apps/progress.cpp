#include <noisysgd/apps/progress.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
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

constexpr int stamp_columns = 9;  // "14:03:07 "

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

// Of the same width in all epochs, so that lines stand in columns.
static std::string epoch_of(const ProgressState& state) {
  const std::string all = std::to_string(state.epochs);
  return fmt::format(" epoch {:>{}}/{}", state.epoch + 1, all.size(), all);
}

std::string step_line(const std::string& title, const ProgressState& state, bool with_bar, int columns) {
  const double done = static_cast<double>(state.step) / static_cast<double>(state.steps);
  const double in_all = state.seconds_left + state.seconds_left_after;
  const Part parts[]{{title, 0},
                     {with_bar ? " " + bar(done, 20) : "", 6},
                     {epoch_of(state), 2},
                     {fmt::format(" step {}/{}", state.step, state.steps), 7},
                     {fmt::format(" loss {}", format_loss(state.loss)), 1},
                     {fmt::format(" acc {:.2f}%", 100 * state.accuracy), 5},
                     {fmt::format(" {:.0f} samples/s", state.samples_per_second), 8},
                     {fmt::format(" {} left", format_duration(state.seconds_left)), 3},
                     {state.seconds_left_after > 0 ? fmt::format(" ({} in all)", format_duration(in_all)) : "", 4}};
  return fitting(parts, columns);
}

std::string epoch_line(const std::string& title, const ProgressState& state, const std::string& evaluated_set,
                       double loss, double accuracy, int columns) {
  constexpr int words = 3;  // "loss" and "acc" are left out before any number but the speed
  const Part parts[]{{title + epoch_of(state), 0},
                     {"  train", 1},
                     {" loss", words},
                     {" " + format_loss(state.loss), 1},
                     {" acc", words},
                     {fmt::format(" {:.2f}%", 100 * state.accuracy), 2},
                     {"  " + evaluated_set, 0},
                     {" loss", words},
                     {" " + format_loss(loss), 0},
                     {" acc", words},
                     {fmt::format(" {:.2f}%", 100 * accuracy), 0},
                     {fmt::format("  {:.0f} samples/s", state.samples_per_second), 4}};
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

void Progress::step(const std::function<ProgressState()>& state, Clock::time_point now) {
  const bool live = mode_ == Mode::live;
  if (mode_ == Mode::quiet || now - last_ < std::chrono::milliseconds(live ? 100 : 30'000)) return;
  last_ = now;
  if (!live) return stamped(step_line(title_, state(), false, terminal_width(stdout) - stamp_columns));
  draw_line(stdout, step_line(title_, state(), true, terminal_width(stdout)));
  drawn_ = true;
}

void Progress::epoch(const ProgressState& state, const std::string& evaluated_set, double loss, double accuracy) {
  const int columns = terminal_width(stdout);
  if (mode_ == Mode::live)
    line(epoch_line(title_, state, evaluated_set, loss, accuracy, columns));
  else
    stamped(epoch_line(title_, state, evaluated_set, loss, accuracy, columns - stamp_columns));
}

void Progress::stamped(const std::string& text) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  char stamp[stamp_columns + 1] = "";
  if (localtime_r(&now, &local)) std::strftime(stamp, sizeof stamp, "%H:%M:%S ", &local);
  line(stamp + text);
}

void Progress::line(const std::string& text) {
  if (mode_ == Mode::quiet) return;
  clear();
  print_out("{}\n", text);
  flush_out();
}

void Progress::clear() {
  if (drawn_) clear_line(stdout);
  drawn_ = false;
}

}  // namespace noisysgd
