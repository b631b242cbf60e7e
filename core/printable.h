// Makes text from outside (names, keys, paths, messages of libraries) safe to show on a terminal.
#pragma once

#include <string>
#include <string_view>

namespace noisysgd {

// Returns `text` with every character that could control a terminal, and every byte that is not UTF-8, written as an
// escape: \x1b, \x7f, \u009b, \u202e. Line feeds, tabs and everything else are unchanged.
std::string printable(std::string_view text);

}  // namespace noisysgd
