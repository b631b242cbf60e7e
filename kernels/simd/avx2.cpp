#define NSGD_VECTOR_BYTES 32
#include <noisysgd/kernels/simd/kernels.inl>

namespace noisysgd::kernels::simd {

const SimdKernels avx2_kernels = kernel_table("avx2");

}  // namespace noisysgd::kernels::simd
