// The arithmetic ceiling: independent chains of fused multiply-adds that never leave the registers, at the vector width
// of the kernels in use (multiply and add apart on the portable set, which has no fused instruction).
#pragma once

namespace noisysgd::bench {

// Floating-point operations per second of `threads` threads together; the best of `rounds` runs of some milliseconds.
double fma_peak(int threads, int rounds);

}  // namespace noisysgd::bench
