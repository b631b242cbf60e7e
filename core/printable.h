// Text from outside (names, keys, paths, messages of libraries) as a terminal may show it.
#pragma once

#include <string>
#include <string_view>

namespace noisysgd {

// `text` with every character that a terminal could obey, and every byte that is not UTF-8, written as an escape:
// \x1b, \x7f, \u009b, \u202e. Line feeds, tabs and everything else stay as they are.
std::string printable(std::string_view text);

}  // namespace noisysgd
