#include "core/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <optional>

namespace noisysgd {
namespace {

struct Character {
  uint32_t code;
  size_t bytes;
};

// The character that `text` begins with; none if its first bytes are not well-formed UTF-8 (Unicode 15, table 3-7).
std::optional<Character> first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return Character{lead, 1};
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  uint32_t code = lead & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t least[]{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < least[bytes] || code > 0x10ffff || surrogate) return {};
  return Character{code, bytes};
}

// Control characters, and those that reorder the text around them.
bool commands_a_terminal(uint32_t code) {
  const bool control = (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0);
  const bool reorders = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return control || reorders;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const auto character = first_character(text);
    const size_t bytes = character ? character->bytes : 1;
    if (!character || (character->code < 0x80 && commands_a_terminal(character->code)))
      shown += fmt::format("\\x{:02x}", static_cast<uint8_t>(text[0]));
    else if (commands_a_terminal(character->code))
      shown += fmt::format("\\u{:04x}", character->code);
    else
      shown += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return shown;
}

}  // namespace noisysgd
