#include "tests/emulator/primitives.h"

#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/ptx.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>

namespace noisysgd::test {

using kernels::cuda::launch;
namespace ptx = kernels::cuda::ptx;

namespace {

constexpr unsigned all_lanes = 0xffffffffu;

__global__ void shuffles_kernel(const int32_t* in, int32_t* out) {
  const int lane = threadIdx.x;
  const int32_t value = in[lane];
  out[lane] = __shfl_sync(all_lanes, value, 5);
  out[32 + lane] = __shfl_sync(all_lanes, value, lane % 8 / 2, 8);
  out[64 + lane] = __shfl_xor_sync(all_lanes, value, 3);
  out[96 + lane] = __shfl_down_sync(all_lanes, value, 4);
  out[128 + lane] = __shfl_up_sync(all_lanes, value, 4);
  constexpr unsigned even_lanes = 0x55555555u;
  int32_t sum = value;
  if (lane % 2 == 0) {
    for (int bits = 16; bits > 1; bits /= 2) sum += __shfl_xor_sync(even_lanes, sum, bits);
  }
  out[160 + lane] = sum;
}

__global__ void votes_kernel(const int32_t* in, int32_t* out) {
  const int32_t value = in[threadIdx.x];
  const int positive = value > 0;
  const unsigned ballot = __ballot_sync(all_lanes, positive);
  const int any = __any_sync(all_lanes, positive), all = __all_sync(all_lanes, positive);
  const int32_t least = __reduce_min_sync(all_lanes, value);
  const int count = __syncthreads_count(positive), both = __syncthreads_and(positive), one = __syncthreads_or(positive);
  if (threadIdx.x > 0) return;
  out[0] = static_cast<int32_t>(ballot);
  out[1] = any != 0;
  out[2] = all != 0;
  out[3] = count;
  out[4] = both != 0;
  out[5] = one != 0;
  out[6] = least;
}

__global__ void reverse_blocks_kernel(const float* in, float* out) {
  GPU_DYNAMIC_SHARED(float, block);
  const unsigned base = blockIdx.x * blockDim.x;
  block[threadIdx.x] = in[base + threadIdx.x];
  __syncthreads();
  out[base + threadIdx.x] = block[blockDim.x - 1 - threadIdx.x];
}

__global__ void staged_row_sums_kernel(int rows, const float* in, float* out) {
  GPU_SHARED(float, buffer, [2][64]);
  const int column = threadIdx.x;
  const auto fetch = [&](int row) {
    if (column < 16 && row < rows)
      __pipeline_memcpy_async(&buffer[row % 2][column * 4], in + row * 64 + column * 4, 16);
    __pipeline_commit();
  };
  float sum = 0;
  fetch(0);
  for (int row = 0; row < rows; ++row) {
    fetch(row + 1);
    __pipeline_wait_prior(1);
    __syncthreads();
    sum += buffer[row % 2][63 - column];  // what another thread fetched
    __syncthreads();
  }
  out[63 - column] = sum;
}

__global__ void tf32_product_kernel(const float* a, const float* b, float* d) {
  const int group = threadIdx.x / 4, place = threadIdx.x % 4;
  uint32_t fragment_a[4], fragment_b[2];
  float fragment_d[4] = {};
  for (int i = 0; i < 4; ++i) fragment_a[i] = ptx::round_to_tf32(a[(group + i % 2 * 8) * 8 + place + i / 2 * 4]);
  for (int i = 0; i < 2; ++i) fragment_b[i] = ptx::round_to_tf32(b[(place + i * 4) * 8 + group]);
  ptx::mma_m16n8k8_tf32(fragment_d, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + place * 2 + i % 2] = fragment_d[i];
}

// Operands of 16 bits, rounded two at a time.
template <class Format>
__global__ void product_of_pairs_kernel(const float* a, const float* b, float* d) {
  const int group = threadIdx.x / 4, place = threadIdx.x % 4;
  uint32_t fragment_a[4], fragment_b[2];
  float fragment_d[4] = {};
  for (int i = 0; i < 4; ++i) {
    const float* from = a + (group + i % 2 * 8) * 16 + place * 2 + i / 2 * 8;
    fragment_a[i] = Format::round({from[0], from[1]});
  }
  for (int i = 0; i < 2; ++i) {
    const float* from = b + (place * 2 + i * 8) * 8 + group;
    fragment_b[i] = Format::round({from[0], from[8]});
  }
  Format::multiply(fragment_d, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(group + i / 2 * 8) * 8 + place * 2 + i % 2] = fragment_d[i];
}

__global__ void matrices_kernel(const uint16_t* in, uint16_t* out) {
  GPU_SHARED(uint16_t, rows, [32][8]);
  const int lane = threadIdx.x, group = lane / 4, place = lane % 4;
  for (int i = lane; i < 256; i += 32) rows[i / 8][i % 8] = in[i];
  __syncthreads();
  uint32_t pairs[4];
  ptx::load_matrices(pairs, rows[lane]);
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half)
      out[i * 64 + group * 8 + place * 2 + half] = static_cast<uint16_t>(pairs[i] >> (16 * half) & 0xffffu);
}

__global__ void warpgroup_product_kernel(int depth_step, int column_step, const float* a, const float* x, float* d) {
  GPU_DYNAMIC_SHARED(uint16_t, positions);
  const int thread = static_cast<int>(threadIdx.x), group = thread % 32 / 4, place = thread % 4;
  for (int i = thread; i < 512; i += 256) positions[i] = static_cast<uint16_t>(ptx::round_to_bf16x2(x[i], 0) & 0xffffu);
  ptx::publish_to_products();
  __syncthreads();
  uint32_t fragment_a[4];
  for (int i = 0; i < 4; ++i) {
    const float* from = a + (thread / 32 * 16 + group + i % 2 * 8) * 16 + place * 2 + i / 2 * 8;
    fragment_a[i] = ptx::round_to_bf16x2(from[0], from[1]);
  }
  float sums[12], differences[12];
  for (float& sum : sums) sum = 1;
  const uint64_t b =
      ptx::shared_operand(positions, static_cast<uint32_t>(depth_step) * 16, static_cast<uint32_t>(column_step) * 16);
  ptx::begin_products();
  ptx::multiply_m64n24k16_bf16(sums, fragment_a, b, true);
  ptx::commit_products();
  ptx::multiply_m64n24k16_bf16(differences, fragment_a, b, false);
  ptx::multiply_m64n24k16_bf16(differences, fragment_a, ptx::shared_operand_at(b, 3 * 16), true);
  ptx::commit_products();
  ptx::wait_for_products<1>(sums);
  const auto store = [&](const float(&from)[12], float* to) {
    for (int i = 0; i < 12; ++i)
      to[(thread / 32 * 16 + group + i / 2 % 2 * 8) * 24 + i / 4 * 8 + place * 2 + i % 2] = from[i];
  };
  store(sums, d);
  ptx::wait_for_products<0>(differences);
  store(differences, d + 128 * 24);
}

__global__ void transposed_matrices_kernel(const uint16_t* in, uint16_t* out) {
  GPU_SHARED(uint16_t, rows, [6 * 8][8]);
  const int lane = threadIdx.x, group = lane / 4, place = lane % 4;
  for (int i = lane; i < 6 * 64; i += 32) rows[i / 8][i % 8] = in[i];
  __syncthreads();
  uint32_t four[4], two[2];
  ptx::load_matrices_transposed<4>(four, rows[lane]);
  ptx::load_matrices_transposed<2>(two, rows[32 + lane % 16]);
  for (int i = 0; i < 6; ++i) {
    const uint32_t pair = i < 4 ? four[i] : two[i - 4];
    out[i * 64 + group * 8 + place * 2] = static_cast<uint16_t>(pair & 0xffffu);
    out[i * 64 + group * 8 + place * 2 + 1] = static_cast<uint16_t>(pair >> 16);
  }
}

__global__ void scalar_functions_kernel(int n, const float* x, float* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  out[i] = __uint_as_float(ptx::round_to_tf32(x[i]));
  const uint32_t pair = ptx::round_to_bf16x2(x[i / 2 * 2], x[i / 2 * 2 + 1]), squares = ptx::square_bf16x2(pair);
  out[n + i] = __uint_as_float(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
  out[2 * n + i] = __uint_as_float(i % 2 == 0 ? squares << 16 : squares & 0xffff0000u);
  out[3 * n + i] = ptx::widen_f16(ptx::round_to_f16x2(x[i / 2 * 2], x[i / 2 * 2 + 1]) >> 16 * (i % 2));
  out[4 * n + i] = ptx::sqrt_approximate(fabsf(x[i]));
}

__global__ void fp16_functions_kernel(int n, const float* x, float* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  const float low = x[i / 2 * 2], high = x[i / 2 * 2 + 1];
  out[i] = ptx::widen_f16(ptx::round_to_f16x2(low, high) >> (i % 2 * 16));
  out[n + i] = ptx::widen_f16(ptx::relu_to_f16x2(low, high) >> (i % 2 * 16));
}

__global__ void histogram_kernel(int n, const int32_t* values, int32_t* counts, unsigned* finished, int32_t* total) {
  GPU_SHARED(bool, is_last);
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) atomicAdd(&counts[values[i]], 1);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicInc(finished, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  if (!is_last || threadIdx.x > 0) return;
  int32_t sum = 0;
  for (int k = 0; k < 8; ++k) sum += atomicAdd(&counts[k], 0);
  *total = sum;
}

}  // namespace

void shuffles(kernels::Queue& queue, const int32_t* in, int32_t* out) {
  launch(queue, shuffles_kernel, 1, 32, 0, in, out);
}
void votes(kernels::Queue& queue, const int32_t* in, int32_t* out) { launch(queue, votes_kernel, 1, 64, 0, in, out); }
void reverse_blocks(kernels::Queue& queue, int blocks, const float* in, float* out) {
  launch(queue, reverse_blocks_kernel, static_cast<unsigned>(blocks), 256, 256 * sizeof(float), in, out);
}
void staged_row_sums(kernels::Queue& queue, int rows, const float* in, float* out) {
  launch(queue, staged_row_sums_kernel, 1, 64, 0, rows, in, out);
}
void tf32_product(kernels::Queue& queue, const float* a, const float* b, float* d) {
  launch(queue, tf32_product_kernel, 1, 32, 0, a, b, d);
}
void bf16_product(kernels::Queue& queue, const float* a, const float* b, float* d) {
  launch(queue, product_of_pairs_kernel<kernels::cuda::Bf16>, 1, 32, 0, a, b, d);
}
void f16_product(kernels::Queue& queue, const float* a, const float* b, float* d) {
  launch(queue, product_of_pairs_kernel<kernels::cuda::F16>, 1, 32, 0, a, b, d);
}
void matrices(kernels::Queue& queue, const uint16_t* in, uint16_t* out) {
  launch(queue, matrices_kernel, 1, 32, 0, in, out);
}
void warpgroup_product(kernels::Queue& queue, int depth_step, int column_step, const float* a, const float* x,
                       float* d) {
  launch(queue, warpgroup_product_kernel, 1, 256, 512 * sizeof(uint16_t), depth_step, column_step, a, x, d);
}
void transposed_matrices(kernels::Queue& queue, const uint16_t* in, uint16_t* out) {
  launch(queue, transposed_matrices_kernel, 1, 32, 0, in, out);
}
void scalar_functions(kernels::Queue& queue, int n, const float* x, float* out) {
  launch(queue, scalar_functions_kernel, static_cast<unsigned>((n + 127) / 128), 128, 0, n, x, out);
}
void fp16_functions(kernels::Queue& queue, int n, const float* x, float* out) {
  launch(queue, fp16_functions_kernel, static_cast<unsigned>((n + 127) / 128), 128, 0, n, x, out);
}
void histogram(kernels::Queue& queue, int n, const int32_t* values, int32_t* counts, unsigned* finished,
               int32_t* total) {
  launch(queue, histogram_kernel, static_cast<unsigned>((n + 63) / 64), 64, 0, n, values, counts, finished, total);
}

}  // namespace noisysgd::test
