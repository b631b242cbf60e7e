// The message of the Error that an action is expected to throw.
#pragma once

#include <string>

#include <noisysgd/kernels/check.h>

namespace noisysgd::test {

template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error was thrown";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace noisysgd::test
