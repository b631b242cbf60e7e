// Texts as UTF-8 (RFC 3629): what names, keys and arguments must be, since all files that are written are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace noisysgd {

struct Character {
  std::uint32_t code;  // its number in Unicode
  std::size_t bytes;   // that it takes
};

// What a text that is not empty begins with; none if its first bytes are not well-formed.
std::optional<Character> first_character(std::string_view text);
bool is_utf8(std::string_view text);
bool has_control_characters(std::string_view text);  // of ASCII

// At most `bytes` of the text; the end of a longer one, cut between characters, becomes "…".
std::string shortened(std::string_view text, std::size_t bytes);

}  // namespace noisysgd
