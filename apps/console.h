// Console output of the programs. Control characters are printed as escapes (core/printable.h), so no name, key or path
// can send commands to the terminal. A failed write does not interrupt the work; finish_output() reports it at the end.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace noisysgd {

void write_console(std::FILE* stream, std::string_view text);

template <class... Values>
void print_out(fmt::format_string<Values...> format, Values&&... values) {
  write_console(stdout, fmt::format(format, std::forward<Values>(values)...));
}
template <class... Values>
void print_error(fmt::format_string<Values...> format, Values&&... values) {
  write_console(stderr, fmt::format(format, std::forward<Values>(values)...));
}

// Draws a line over the previous one on a terminal, cut to its width with a trailing "…".
void draw_line(std::FILE* stream, std::string_view text);
void clear_line(std::FILE* stream);

// Width in characters of the terminal at `stream`; 80 if unknown.
int terminal_width(std::FILE* stream);
// True if `stream` is a terminal that can redraw a line. TERM=dumb marks one that cannot, and NO_COLOR a person who
// wants plain text.
bool is_live_terminal(std::FILE* stream);

// Flushes standard output. If something printed to it was lost, prints a line on standard error and returns 1 in place
// of a `status` of 0; otherwise returns `status`.
int finish_output(std::string_view program, int status);

}  // namespace noisysgd
