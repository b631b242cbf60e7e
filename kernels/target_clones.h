// NSGD_TARGET_CLONES in front of a static function builds it for AVX-512, AVX2 and the baseline; the dynamic linker
// picks one when the program starts. Where the compiler lacks this, the function is built once for the baseline. Loops
// inside must not contain OpenMP regions: their outlined bodies would not be cloned.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define NSGD_TARGET_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define NSGD_TARGET_CLONES
#endif
