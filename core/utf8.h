// UTF-8 (RFC 3629). Names, keys and arguments must be valid UTF-8, because they are written to UTF-8 files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace noisysgd {

struct Character {
  std::uint32_t code;  // Unicode code point
  std::size_t bytes;   // length of its encoding
};

// The first character of a text that is not empty; none if its first bytes are not well-formed.
std::optional<Character> first_character(std::string_view text);
bool is_utf8(std::string_view text);
bool has_control_characters(std::string_view text);  // in ASCII

// The text in at most `bytes` bytes: a longer text is cut between characters and ends in "…".
std::string shortened(std::string_view text, std::size_t bytes);

}  // namespace noisysgd
