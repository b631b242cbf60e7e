#include <noisysgd/kernels/convert.h>

#include <algorithm>

#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

// Of floats a thread's 8 elements are two accesses of 16 bytes.
constexpr int width = 8;

// The first `vectors` groups of 8 elements by vectors, the rest one by one.
template <class From, class To>
__global__ void __launch_bounds__(block_threads) convert_kernel(int64_t vectors, int64_t n, const From* x, To* y) {
  grid_stride(vectors, [&](int64_t i) { store_values(y + width * i, load_values<width>(x + width * i)); });
  const int64_t done = width * vectors;
  grid_stride(n - done, [&](int64_t i) { y[done + i] = as_stored<To>(as_float(x[done + i])); });
}

template <class From, class To>
void convert_arrays(Queue& queue, int64_t n, ConstValues from, Values to) {
  const auto* const x = static_cast<const From*>(from.address);
  auto* const y = static_cast<To*>(to.address);
  const int64_t vectors = aligned(x) && aligned(y) ? n / width : 0, rest = n - width * vectors;
  if (n > 0)
    launch(queue, convert_kernel<From, To>, grid_size(std::max(vectors, rest)), block_threads, 0, vectors, n, x, y);
}

}  // namespace

void convert(Queue& queue, int64_t n, ConstValues x, Values y) {
  check_conversion(x.type, y.type);
  if (x.type == DType::f16 && y.type == DType::bf16) return convert_arrays<Half, BFloat16>(queue, n, x, y);
  if (y.type == DType::f16) return convert_arrays<float, Half>(queue, n, x, y);
  if (y.type == DType::bf16) return convert_arrays<float, BFloat16>(queue, n, x, y);
  if (x.type == DType::f16) return convert_arrays<Half, float>(queue, n, x, y);
  convert_arrays<BFloat16, float>(queue, n, x, y);
}

}  // namespace noisysgd::kernels::cuda
