// What error messages suggest: the known name nearest to a mistyped one, and words to type.
// Distance: insertions, deletions, replacements and swaps of neighbours, ignoring case; at most a third of the length.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace noisysgd {

std::string nearest_name(std::string_view name, std::span<const std::string> known);  // empty: none is near

// What follows the name in a message: `; did you mean "b"?`, else `; known: "a", "b"`, else nothing.
std::string suggestion(std::string_view name, std::span<const std::string> known);

// An argument in the quotes that a shell needs: "regimes[LB].epochs=3", single ones where it changes what double ones
// hold.
std::string shell_quoted(std::string_view text);

std::string quoted_list(std::span<const std::string> names);  // "a", "b", "c"

}  // namespace noisysgd
