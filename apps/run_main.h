// What every program's main does around its body: an exception becomes one line on standard error and exit status 1.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <exception>

namespace noisysgd {

template <class Body>
int run_main(const char* program, Body&& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  }
}

}  // namespace noisysgd
