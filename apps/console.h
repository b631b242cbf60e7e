// Console output of the programs. Control characters are printed as escapes (core/printable.h), so no name, key or path
// can send commands to the terminal. A failed write does not interrupt the work; finish_output() reports it at the end,
// unless it is a reader, such as `head`, that has gone.
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
// Sends to standard output what was printed so far.
void flush_out();

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

// The exit status of a program whose output nobody reads any more: that of one which SIGPIPE has ended.
inline constexpr int status_of_closed_pipe = 141;

// Flushes standard output. Returns `status`, but in place of 0: status_of_closed_pipe if the reader of a pipe has gone;
// 1, after a line on standard error, if something printed was lost for another reason.
int finish_output(std::string_view program, int status);

}  // namespace noisysgd
