// The primitives that kernels are made of, one small kernel each: the emulator must give a GPU's results.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::test {

// out [6,32]: shuffles of in [32] by one warp: from lane 5, from lane i % 8 / 2 of its eight lanes, xor 3, down 4, up
// 4, and the sum of the 16 even lanes, in those lanes alone (others: in).
void shuffles(kernels::Queue& queue, const int32_t* in, int32_t* out);
// out [7]: ballot, any and all of (in > 0) over the first warp of in [64], then the block's count, and, or, and the
// minimum of the first warp.
void votes(kernels::Queue& queue, const int32_t* in, int32_t* out);
// out[i] = in[n-1-i] within each block of 256, through shared memory.
void reverse_blocks(kernels::Queue& queue, int blocks, const float* in, float* out);
// out [64] = sums over rows of in [rows,64], each row staged by cp.async into one of two buffers.
void staged_row_sums(kernels::Queue& queue, int rows, const float* in, float* out);
// d [16,8] = a [16,8] b [8,8] by mma.m16n8k8 on operands rounded to tf32.
void tf32_product(kernels::Queue& queue, const float* a, const float* b, float* d);
// d [16,8] = a [16,16] b [16,8] by mma.m16n8k16 on operands rounded to bf16.
void bf16_product(kernels::Queue& queue, const float* a, const float* b, float* d);
// The same on operands rounded to fp16.
void f16_product(kernels::Queue& queue, const float* a, const float* b, float* d);
// out [4,8,8] = in [4,8,8], through shared memory and the registers of ldmatrix.
void matrices(kernels::Queue& queue, const uint16_t* in, uint16_t* out);
// d [2,128,24] by wgmma.m64n24k16 of two warpgroups, on operands rounded to bf16: 1 + a b(0), and a (b(0) + b(3)), with
// a [128,16] and b(p)[k,n] = x[p + k / 8 depth_step + k % 8 + n / 8 column_step, n % 8] of x [64,8].
void warpgroup_product(kernels::Queue& queue, int depth_step, int column_step, const float* a, const float* x,
                       float* d);
// out [6,8,8]: the transposes of in [6,8,8], four and two at a time.
void transposed_matrices(kernels::Queue& queue, const uint16_t* in, uint16_t* out);
// out [5,n]: x rounded to tf32 and to bf16, the square of the latter in bf16, x rounded to fp16, and the square root of
// |x|. n is even.
void scalar_functions(kernels::Queue& queue, int n, const float* x, float* out);
// out [2,n]: x and max(0, x) rounded to fp16. n is even.
void fp16_functions(kernels::Queue& queue, int n, const float* x, float* out);
// counts [8] += how often each value occurs; *total = their sum, by the block that finishes last. finished [1] is zero
// before and after.
void histogram(kernels::Queue& queue, int n, const int32_t* values, int32_t* counts, unsigned* finished,
               int32_t* total);

}  // namespace noisysgd::test
