// Suggestions in error messages: the known name nearest to a mistyped one, and quoted text to type.
// Distance: insertions, deletions, replacements and swaps of adjacent characters, ignoring case; at most a third of the
// length. A name that is the beginning of one known name only stands for it.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace noisysgd {

std::string nearest_name(std::string_view name, std::span<const std::string> known);  // empty if none is near

// Text to append to the name in a message: `; did you mean "b"?`, else `; known: "a", "b"`, else nothing.
std::string suggestion(std::string_view name, std::span<const std::string> known);

// An argument quoted for a shell: "regimes[LB].epochs=3", or in single quotes if a shell would expand it in double
// ones.
std::string shell_quoted(std::string_view text);

std::string quoted_list(std::span<const std::string> names);  // "a", "b", "c"

}  // namespace noisysgd
