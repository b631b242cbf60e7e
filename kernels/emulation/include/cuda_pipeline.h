// Asynchronous copies to shared memory, under CUDA's names.
#pragma once

#include <noisysgd/kernels/emulation/scheduler.h>

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zero_fill = 0,
                                    NSGD_EMULATION_HERE) {
  noisysgd::emulation::async_copy(to, from, bytes, zero_fill, file, line);
}
inline void __pipeline_commit() { noisysgd::emulation::async_commit(); }
inline void __pipeline_wait_prior(size_t groups_left) { noisysgd::emulation::async_wait(groups_left); }
