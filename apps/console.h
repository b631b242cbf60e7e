// What the programs print. Control characters are shown as escapes (core/printable.h), so that no name, key or path
// can command the terminal. A failed write does not interrupt the work: finish_output() tells of it in the end.
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

// A line that is drawn over the one before it, for a terminal; cut to its width, with a trailing "…".
void draw_line(std::FILE* stream, std::string_view text);
void clear_line(std::FILE* stream);

// Characters of a line of the terminal at `stream`: 80 where it does not say.
int terminal_width(std::FILE* stream);
// True if `stream` is a terminal on which a line can be drawn anew: TERM=dumb names one that cannot.
bool is_live_terminal(std::FILE* stream);

// `status`, or 1 with a line on standard error if something printed to standard output did not arrive.
int finish_output(std::string_view program, int status);

}  // namespace noisysgd
