#include <noisysgd/apps/console.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <noisysgd/core/printable.h>

namespace noisysgd {
namespace {

// The first `columns` characters of UTF-8 text, one column each.
std::string_view first_columns(std::string_view text, int columns) {
  const auto continues = [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; };
  size_t end = 0;
  for (int column = 0; column < columns && end < text.size(); ++column) do
      ++end;
    while (end < text.size() && continues(text[end]));
  return text.substr(0, end);
}

// Why the first output to stdout was lost; 0: no reason is known. The stream itself records only that some was lost.
int first_failure = 0;

void note(std::FILE* stream, bool written) {
  if (!written && stream == stdout && first_failure == 0) first_failure = errno;
}

void flush(std::FILE* stream) { note(stream, std::fflush(stream) == 0); }

void write_raw(std::FILE* stream, std::string_view text) {
  note(stream, std::fwrite(text.data(), 1, text.size(), stream) == text.size());
}

constexpr std::string_view clear_sequence = "\r\033[K";

}  // namespace

void write_console(std::FILE* stream, std::string_view text) {
  if (stream == stderr) flush_out();  // both may be one file: what was printed before stays before
  write_raw(stream, printable(text));
}

void flush_out() { flush(stdout); }

void draw_line(std::FILE* stream, std::string_view text) {
  const std::string shown = printable(text);
  // The last column stays free: some terminals wrap as soon as it is written.
  const int columns = terminal_width(stream) - 1;
  const std::string_view fitting = first_columns(shown, columns);
  write_raw(stream, clear_sequence);
  write_raw(stream, fitting.size() == shown.size() ? shown : std::string(first_columns(shown, columns - 1)) + "…");
  flush(stream);
}

void clear_line(std::FILE* stream) {
  write_raw(stream, clear_sequence);
  flush(stream);
}

int terminal_width(std::FILE* stream) {
  winsize size{};
  return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

bool is_live_terminal(std::FILE* stream) {
  const auto is_set = [](const char* value) { return value && *value; };
  const char* kind = std::getenv("TERM");
  if (is_set(std::getenv("NO_COLOR"))) return false;
  return isatty(fileno(stream)) != 0 && is_set(kind) && std::strcmp(kind, "dumb") != 0;
}

int finish_output(std::string_view program, int status) {
  flush_out();
  if (!std::ferror(stdout) && first_failure == 0) return status;
  if (first_failure != EPIPE)
    print_error("{}: standard output: {}\n", program,
                first_failure == 0 ? "something could not be written" : std::strerror(first_failure));
  if (status != 0) return status;
  return first_failure == EPIPE ? status_of_closed_pipe : 1;
}

}  // namespace noisysgd
