// A fuzz target feeds a parser with bytes. The parser may return or throw Error; anything else is a fault: another
// exception, a crash, a finding of the sanitizers, memory or time out of proportion to the input.
//
// scripts/fuzz.sh builds the targets with libFuzzer and looks for new inputs. In every other build they read the inputs
// in corpus/, one folder for each target (replay.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <noisysgd/kernels/check.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace noisysgd::fuzz {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return std::as_bytes(std::span(data, size));
}

// 0, as libFuzzer wants it.
template <class Body>
int result_or_error(Body&& body) {
  try {
    body();
  } catch (const Error&) {
  }
  return 0;
}

}  // namespace noisysgd::fuzz
