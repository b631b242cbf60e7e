// Measures the arithmetic peak: independent chains of fused multiply-adds that stay in registers, at the vector width
// of the kernels in use (separate multiply and add in the portable kernels, which have no fused instruction).
#pragma once

namespace noisysgd::bench {

// Floating-point operations per second of `threads` threads together; the best of `rounds` runs of some milliseconds.
double fma_peak(int threads, int rounds);

}  // namespace noisysgd::bench
