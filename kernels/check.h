// The errors of the whole framework. Every failure is an exception whose message names the object, the location (file,
// key or argument) and the wrong values. Every file includes this header, so it must compile quickly: only .cpp files
// include fmt.
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace noisysgd {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// A message text with one {} per argument; {{ and }} stand for braces. Other texts do not compile.
template <class... Arguments>
class CheckedText {
 public:
  consteval CheckedText(const char* text) : text_(text) {
    size_t fields = 0;
    for (std::string_view rest = text_; !rest.empty(); rest.remove_prefix(1)) {
      if (rest[0] != '{' && rest[0] != '}') continue;
      if (rest.starts_with("{}"))
        ++fields;
      else if (!rest.starts_with("{{") && !rest.starts_with("}}"))
        throw "a message has {} for its arguments and no other braces";
      rest.remove_prefix(1);
    }
    if (fields != sizeof...(Arguments)) throw "a message has as many arguments as {}";
  }
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

template <class... Arguments>
using MessageText = CheckedText<std::type_identity_t<Arguments>...>;

// A value to insert for a {}: a text, true or false, or a number in the fewest digits that determine its value.
class MessageArgument {
 public:
  MessageArgument(std::string_view text) : value_(text) {}
  MessageArgument(const char* text) : value_(std::string_view(text)) {}
  MessageArgument(bool value) : value_(value) {}
  MessageArgument(char value) : value_(value) {}
  MessageArgument(float value) : value_(value) {}
  MessageArgument(double value) : value_(value) {}
  MessageArgument(std::signed_integral auto value) : value_(static_cast<long long>(value)) {}
  MessageArgument(std::unsigned_integral auto value) : value_(static_cast<unsigned long long>(value)) {}
  void append_to(std::string& text) const;

 private:
  std::variant<std::string_view, bool, char, float, double, long long, unsigned long long> value_;
};

std::string message_of(std::string_view text, std::initializer_list<MessageArgument> arguments);
[[noreturn]] void throw_error_of(std::string_view text, std::initializer_list<MessageArgument> arguments);

// message("{} has {} rows", name, rows)
template <class... Arguments>
std::string message(MessageText<Arguments...> text, const Arguments&... arguments) {
  return message_of(text.text(), {MessageArgument(arguments)...});
}
template <class... Arguments>
[[noreturn]] void throw_error(MessageText<Arguments...> text, const Arguments&... arguments) {
  throw_error_of(text.text(), {MessageArgument(arguments)...});
}

}  // namespace noisysgd

// NSGD_CHECK(rows == m, "linear: input has {} rows, expected {}", rows, m) throws noisysgd::Error with that text.
#define NSGD_CHECK(condition, ...)          \
  do {                                      \
    if (!(condition)) [[unlikely]]          \
      ::noisysgd::throw_error(__VA_ARGS__); \
  } while (false)
