// The device of a room's tests: they are compiled once for the CPU and once, as the room's gpu test, for CUDA (emulated
// or real).
#pragma once

#include <noisysgd/kernels/device.h>

#ifndef NSGD_TEST_BACKEND
#define NSGD_TEST_BACKEND cpu
#endif

namespace noisysgd::test {

inline constexpr Device test_device{Backend::NSGD_TEST_BACKEND};

}  // namespace noisysgd::test
