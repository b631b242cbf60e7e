// Kernels that move known numbers of bytes, for the counter of traffic.
#pragma once

#include <noisysgd/kernels/queue.h>

namespace noisysgd::test {

void copy(kernels::Queue& queue, int64_t n, const float* x, float* y);            // a float per thread
void copy_vectors(kernels::Queue& queue, int64_t n, const float* x, float* y);    // four floats per thread
void copy_by_shared(kernels::Queue& queue, int64_t n, const float* x, float* y);  // cp.async, four floats per thread
void double_in_place(kernels::Queue& queue, int64_t n, float* x);
void copy_thrice(kernels::Queue& queue, int64_t n, const float* x, float* y);  // y [3,n], a row by each of three blocks
void every_16th(kernels::Queue& queue, int64_t n, const float* x, float* y);   // y[i] = x[16 i]
void write_then_read(kernels::Queue& queue, float* x, float* y);  // 128 floats into x, and from there into y
void count(kernels::Queue& queue, int64_t n, uint32_t* counter);  // by n atomic additions

}  // namespace noisysgd::test
