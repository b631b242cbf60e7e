#include "tests/emulator/planted_faults.h"

#include <utility>

#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/ptx.h>

namespace noisysgd::test {

namespace {

constexpr unsigned all_lanes = 0xffffffffu;

__global__ void divergent_barrier_kernel(const float*, float* y) {
  if (threadIdx.x < 40) {
    y[threadIdx.x] = 1;
    __syncthreads();
  } else {
    y[threadIdx.x] = 2;
    __syncthreads();
  }
}
__global__ void missed_barrier_kernel(const float*, float* y) {
  if (threadIdx.x >= 50) return;
  y[threadIdx.x] = 1;
  __syncthreads();
}
__global__ void unequal_loops_kernel(const float*, float* y) {
  for (unsigned i = 0; i < 2 + threadIdx.x / 32; ++i) {
    y[threadIdx.x] = static_cast<float>(i);
    __syncthreads();
  }
}
__global__ void mask_without_lane_kernel(const float* x, float* y) {
  float value = x[threadIdx.x];
  if (threadIdx.x < 16) value = __shfl_xor_sync(0xfffffffeu, value, 1);
  y[threadIdx.x] = value;
}
__global__ void shuffle_outside_mask_kernel(const float* x, float* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_down_sync(0x0000ffffu, x[threadIdx.x], 8);
}
__global__ void barrier_and_warp_kernel(const float*, float* y) {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    __syncwarp(all_lanes);
  }
  y[threadIdx.x] = 0;
}
__global__ void copy_never_awaited_kernel(const float* x, float* y) {
  GPU_SHARED(float, buffer, [64]);
  __pipeline_memcpy_async(&buffer[threadIdx.x], x + threadIdx.x, 4);
  __pipeline_commit();
  y[threadIdx.x] = 0;
}
__global__ void wait_too_weak_kernel(const float* x, float* y) {
  GPU_SHARED(float, buffer, [64]);
  __pipeline_memcpy_async(&buffer[threadIdx.x], x + threadIdx.x, 4);
  __pipeline_commit();
  __pipeline_wait_prior(1);  // 0 would wait for the copy
  __syncthreads();
  y[threadIdx.x] = buffer[63 - threadIdx.x];
  __syncthreads();
  __pipeline_wait_prior(0);
}
__global__ void scale_kernel(const float* x, float* y) { y[threadIdx.x] = 2 * x[threadIdx.x]; }

// Through a pointer, as the undefined-behaviour sanitizer would see a plain index first.
__device__ __attribute__((noinline)) void store(float* array, unsigned index) { array[index] = 1; }
__global__ void shared_out_of_bounds_kernel(const float*, float* y) {
  GPU_SHARED(float, buffer, [64]);
  store(buffer, threadIdx.x + 1);
  __syncthreads();
  y[threadIdx.x] = buffer[63];
}
__global__ void dynamic_out_of_bounds_kernel(const float*, float* y) {
  GPU_DYNAMIC_SHARED(float, buffer);
  store(buffer, threadIdx.x + 1);
  __syncthreads();
  y[threadIdx.x] = buffer[63];
}
__global__ void global_out_of_bounds_kernel(const float*, float* y) { store(y, threadIdx.x + 193); }
__global__ void misaligned_kernel(const float*, float* y) {
  *reinterpret_cast<float4*>(y + 1 + 2 * threadIdx.x) = make_float4(1, 2, 3, 4);
}

__global__ void missing_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(float, buffer, [64]);
  buffer[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = buffer[63 - threadIdx.x];
}
__global__ void missing_warp_barrier_kernel(const float* x, float* y) {
  GPU_SHARED(float, buffer, [64]);
  buffer[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = buffer[threadIdx.x ^ 1];
}
__global__ void missing_second_barrier_kernel(const float* x, float* y) {  // the buffer is reused too early
  GPU_SHARED(float, buffer, [64]);
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    buffer[threadIdx.x] = x[round * 64 + threadIdx.x];
    __syncthreads();
    sum += buffer[63 - threadIdx.x];
  }
  y[threadIdx.x] = sum;
}
__global__ void block_race_kernel(const float* x, float* y) { y[threadIdx.x] += x[threadIdx.x]; }
__global__ void unwritten_shared_kernel(const float* x, float* y) {
  GPU_SHARED(float, sums, [64]);
  if (threadIdx.x < 32) sums[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = sums[63 - threadIdx.x];
}

// The asynchronous product of a warpgroup without one of its steps. The operand: 18 positions of 8 numbers.
enum class Lacking { nothing, publication, barrier, fence, commit, wait };
template <Lacking lacking>
__device__ void multiply(const float* x, float* y, uint32_t offset = 0) {
  namespace ptx = kernels::cuda::ptx;
  GPU_DYNAMIC_SHARED(uint16_t, operand);
  for (unsigned i = threadIdx.x; i < 18 * 8; i += 128)
    operand[i] = static_cast<uint16_t>(ptx::round_to_bf16x2(x[i], 0) & 0xffffu);
  if (lacking != Lacking::publication) ptx::publish_to_products();
  if (lacking != Lacking::barrier) __syncthreads();
  const uint32_t ones = 0x3f803f80u, a[4] = {ones, ones, ones, ones};
  float d[12] = {};
  const uint64_t b = ptx::shared_operand_at(ptx::shared_operand(operand, 128, 16), offset);
  if (lacking != Lacking::fence) ptx::begin_products();
  ptx::multiply_m64n24k16_bf16(d, a, b, true);
  if (lacking != Lacking::commit) ptx::commit_products();
  if (lacking != Lacking::wait) ptx::wait_for_products<0>(d);
  y[threadIdx.x] = d[0];
}
__global__ void product_kernel(const float* x, float* y) { multiply<Lacking::nothing>(x, y); }
__global__ void product_not_published_kernel(const float* x, float* y) { multiply<Lacking::publication>(x, y); }
__global__ void product_without_barrier_kernel(const float* x, float* y) { multiply<Lacking::barrier>(x, y); }
__global__ void product_without_fence_kernel(const float* x, float* y) { multiply<Lacking::fence>(x, y); }
__global__ void product_not_committed_kernel(const float* x, float* y) { multiply<Lacking::commit>(x, y); }
__global__ void product_never_awaited_kernel(const float* x, float* y) { multiply<Lacking::wait>(x, y); }
__global__ void product_misaligned_kernel(const float* x, float* y) { multiply<Lacking::nothing>(x, y, 8); }
__global__ void product_beyond_memory_kernel(const float* x, float* y) { multiply<Lacking::nothing>(x, y, 32); }
// Two groups of products; `changed` of their registers is written before the wait.
template <class Change>
__device__ void multiply_twice(float* y, const Change& change) {
  namespace ptx = kernels::cuda::ptx;
  GPU_DYNAMIC_SHARED(uint16_t, operand);
  for (unsigned i = threadIdx.x; i < 18 * 8; i += 128) operand[i] = 0x3f80u;
  ptx::publish_to_products();
  __syncthreads();
  uint32_t a[4] = {};
  float first[12] = {}, second[12] = {};
  const uint64_t b = ptx::shared_operand(operand, 128, 16);
  ptx::begin_products();
  ptx::multiply_m64n24k16_bf16(first, a, b, true);
  ptx::commit_products();
  ptx::multiply_m64n24k16_bf16(second, a, b, true);
  ptx::commit_products();
  change(a, first, second);
  ptx::wait_for_products<0>(first, second);
  y[threadIdx.x] = first[0] + second[0];
}
__global__ void product_operand_changed_kernel(const float*, float* y) {
  multiply_twice(y, [](auto& a, auto&, auto&) { a[3] = 1; });
}
__global__ void product_sum_changed_kernel(const float*, float* y) {
  multiply_twice(y, [](auto&, auto&, auto& second) { second[11] = 0; });
}
__global__ void product_wait_too_weak_kernel(const float*, float* y) {
  multiply_twice(y, [](auto&, auto& first, auto& second) { kernels::cuda::ptx::wait_for_products<1>(first, second); });
}
__global__ void product_sums_forgotten_kernel(const float*, float* y) {
  multiply_twice(y, [](auto&, auto& first, auto&) { kernels::cuda::ptx::wait_for_products<0>(first); });
}

}  // namespace

void launch_fault(kernels::Queue& queue, const std::string& name, const float* x, float* y) {
  const auto run = [&](void (*kernel)(const float*, float*), unsigned blocks = 1, unsigned threads = 64) {
    kernels::cuda::launch(queue, kernel, blocks, threads, 64 * sizeof(float), x, y);
  };
  if (name == "divergent_barrier") return run(divergent_barrier_kernel);
  if (name == "missed_barrier") return run(missed_barrier_kernel);
  if (name == "unequal_loops") return run(unequal_loops_kernel);
  if (name == "mask_without_lane") return run(mask_without_lane_kernel);
  if (name == "shuffle_outside_mask") return run(shuffle_outside_mask_kernel);
  if (name == "barrier_and_warp") return run(barrier_and_warp_kernel, 1, 32);
  if (name == "copy_never_awaited") return run(copy_never_awaited_kernel);
  if (name == "wait_too_weak") return run(wait_too_weak_kernel);
  if (name == "none") return run(scale_kernel);
  if (name == "block_too_large") return run(scale_kernel, 1, 2048);
  if (name == "shared_out_of_bounds") return run(shared_out_of_bounds_kernel);
  if (name == "dynamic_out_of_bounds") return run(dynamic_out_of_bounds_kernel);
  if (name == "global_out_of_bounds") return run(global_out_of_bounds_kernel);
  if (name == "misaligned") return run(misaligned_kernel);
  if (name == "missing_barrier") return run(missing_barrier_kernel);
  if (name == "missing_warp_barrier") return run(missing_warp_barrier_kernel);
  if (name == "missing_second_barrier") return run(missing_second_barrier_kernel);
  if (name == "block_race") return run(block_race_kernel, 4);
  if (name == "unwritten_shared") return run(unwritten_shared_kernel);
  const std::pair<const char*, void (*)(const float*, float*)> products[] = {
      {"product", product_kernel},
      {"product_not_published", product_not_published_kernel},
      {"product_without_barrier", product_without_barrier_kernel},
      {"product_without_fence", product_without_fence_kernel},
      {"product_not_committed", product_not_committed_kernel},
      {"product_never_awaited", product_never_awaited_kernel},
      {"product_misaligned", product_misaligned_kernel},
      {"product_beyond_memory", product_beyond_memory_kernel},
      {"product_operand_changed", product_operand_changed_kernel},
      {"product_sum_changed", product_sum_changed_kernel},
      {"product_wait_too_weak", product_wait_too_weak_kernel},
      {"product_sums_forgotten", product_sums_forgotten_kernel},
  };
  for (const auto& [product, kernel] : products)
    if (name == product) return kernels::cuda::launch(queue, kernel, 1, 128, 19 * 16, x, y);
  if (name == "host_pointer") {
    float host[256];
    return kernels::cuda::launch(queue, scale_kernel, 1, 64, 0, x, host);
  }
  throw Error("no fault is named " + name);
}

}  // namespace noisysgd::test
