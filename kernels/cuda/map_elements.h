// to[i] = op(from[i]...) for a function object `op` of floats, whatever type elements are stored in. They are loaded
// and stored 16 bytes at a time if all addresses are aligned to 16 bytes.
#pragma once

#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

// The last n % vector elements are mapped one by one. A `from` may be `to`.
template <int vector, class Op, class To, class... From>
__global__ void __launch_bounds__(block_threads) map_elements_kernel(int64_t n, Op op, To* to, const From*... from) {
  grid_stride(n / vector, [&](int64_t i) {
    const auto map = [&](const Elements<From, vector>&... values) {
      FloatVector<vector> mapped;
      for (int v = 0; v < vector; ++v) mapped[v] = op(values[v]...);
      return mapped;
    };
    store_elements(to + i * vector, map(load_elements<vector>(from + i * vector)...));
  });
  const int64_t mapped = n / vector * vector;
  if constexpr (vector > 1)
    grid_stride(n - mapped, [&](int64_t i) { to[mapped + i] = as_stored<To>(op(as_float(from[mapped + i])...)); });
}

// All element types have one size.
template <class Op, class To, class... From>
void map_elements(Queue& queue, int64_t n, const Op& op, To* to, const From*... from) {
  static_assert(((sizeof(From) == sizeof(To)) && ...));
  if (n == 0) return;
  constexpr int width = vector_width<To>;
  with_width<width>(aligned_elements<width>(to, from...), [&](auto vector) {
    void (*const kernel)(int64_t, Op, To*, const From*...) = map_elements_kernel<vector, Op, To, From...>;
    launch(queue, kernel, grid_size(divide_up(n, vector)), block_threads, 0, n, op, to, from...);
  });
}

}  // namespace
}  // namespace noisysgd::kernels::cuda
