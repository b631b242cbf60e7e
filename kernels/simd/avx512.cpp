#define NSGD_VECTOR_BYTES 64
#include <noisysgd/kernels/simd/kernels.inl>

namespace noisysgd::kernels::simd {

const SimdKernels avx512_kernels = kernel_table("avx512");

}  // namespace noisysgd::kernels::simd
