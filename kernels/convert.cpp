#include <noisysgd/kernels/convert.h>

#include <noisysgd/kernels/half.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels {

void check_conversion(DType from, DType to) {
  NSGD_CHECK((from == DType::f32 && is_half(to)) || (is_half(from) && to == DType::f32) ||
                 (from == DType::f16 && to == DType::bf16),
             "convert: no conversion from {} to {}", name_of(from), name_of(to));
}

namespace cpu {
namespace {

constexpr int64_t grain = 16384;  // elements per thread that are worth starting it

NSGD_TARGET_CLONES void to_f16(const float* x, int64_t n, Half* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<Half>(x[i]);
}
NSGD_TARGET_CLONES void to_bf16(const float* x, int64_t n, BFloat16* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<BFloat16>(x[i]);
}
NSGD_TARGET_CLONES void from_f16(const Half* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = widened(x[i]);
}
NSGD_TARGET_CLONES void from_bf16(const BFloat16* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = widened(x[i]);
}

NSGD_TARGET_CLONES void f16_to_bf16(const Half* x, int64_t n, BFloat16* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<BFloat16>(widened(x[i]));
}

template <class From, class To>
void convert_arrays(Queue& queue, int64_t n, void (*loop)(const From*, int64_t, To*), ConstValues x, Values y) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) {
    loop(static_cast<const From*>(x.address) + first, last - first, static_cast<To*>(y.address) + first);
  });
}

}  // namespace

void convert(Queue& queue, int64_t n, ConstValues x, Values y) {
  check_conversion(x.type, y.type);
  if (x.type == DType::f16 && y.type == DType::bf16) return convert_arrays(queue, n, f16_to_bf16, x, y);
  if (y.type == DType::f16) return convert_arrays(queue, n, to_f16, x, y);
  if (y.type == DType::bf16) return convert_arrays(queue, n, to_bf16, x, y);
  if (x.type == DType::f16) return convert_arrays(queue, n, from_f16, x, y);
  convert_arrays(queue, n, from_bf16, x, y);
}

}  // namespace cpu
}  // namespace noisysgd::kernels
