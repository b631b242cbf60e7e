#include <noisysgd/kernels/check.h>

#include <fmt/format.h>

#include <iterator>

namespace noisysgd {

void MessageArgument::append_to(std::string& text) const {
  std::visit([&](auto value) { fmt::format_to(std::back_inserter(text), "{}", value); }, value_);
}

std::string message_of(std::string_view text, std::initializer_list<MessageArgument> arguments) {
  std::string message;
  const MessageArgument* next = arguments.begin();
  for (size_t i = 0; i < text.size(); ++i) {
    const bool brace = text[i] == '{' || text[i] == '}';
    if (brace && text[i + 1] != text[i])
      next++->append_to(message);
    else
      message += text[i];
    if (brace) ++i;  // the second of a pair
  }
  return message;
}

void throw_error_of(std::string_view text, std::initializer_list<MessageArgument> arguments) {
  throw Error(message_of(text, arguments));
}

}  // namespace noisysgd
