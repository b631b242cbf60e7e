// to[i] = op(from[i]...) for a function object `op` of floats. Elements are loaded and stored 16 bytes at a time if all
// addresses are aligned to 16 bytes.
#pragma once

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/vector.h>

namespace noisysgd::kernels::cuda {
namespace {

// The last n % vector elements are mapped one by one. A `from` may be `to`.
template <int vector, class Op, class... From>
__global__ void __launch_bounds__(block_threads) map_elements_kernel(int64_t n, Op op, float* to, const From*... from) {
  grid_stride(n / vector, [&](int64_t i) {
    const auto map = [&](const Vector<From, vector>&... values) {
      FloatVector<vector> mapped;
      for (int v = 0; v < vector; ++v) mapped[v] = op(values[v]...);
      return mapped;
    };
    store_vector(to + i * vector, map(load_vector<vector>(from + i * vector)...));
  });
  const int64_t mapped = n / vector * vector;
  if constexpr (vector > 1) grid_stride(n - mapped, [&](int64_t i) { to[mapped + i] = op(from[mapped + i]...); });
}

template <class Op, class... From>
void map_elements(Queue& queue, int64_t n, const Op& op, float* to, const From*... from) {
  if (n == 0) return;
  with_vector(vector_of({to, from...}), [&](auto vector) {
    void (*const kernel)(int64_t, Op, float*, const From*...) = map_elements_kernel<vector, Op, From...>;
    launch(queue, kernel, grid_size(divide_up(n, vector)), block_threads, 0, n, op, to, from...);
  });
}

}  // namespace
}  // namespace noisysgd::kernels::cuda
