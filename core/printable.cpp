#include <noisysgd/core/printable.h>

#include <fmt/format.h>

#include <cstdint>

#include <noisysgd/core/utf8.h>

namespace noisysgd {
namespace {

// Control characters, and characters that reorder the text around them.
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
