// Errors of the whole framework. Every failure is an exception whose message names the thing, the place and the wrong
// values.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace noisysgd {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public Error {
 public:
  using Error::Error;
};

}  // namespace noisysgd

// NSGD_CHECK(rows == m, "linear: input has {} rows, expected {}", rows, m) throws noisysgd::Error with that text.
#define NSGD_CHECK(condition, ...)                         \
  do {                                                     \
    if (!(condition)) [[unlikely]]                         \
      throw ::noisysgd::Error(::fmt::format(__VA_ARGS__)); \
  } while (false)
