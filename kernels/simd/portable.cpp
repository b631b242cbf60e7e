#define NSGD_VECTOR_BYTES 16
#include <noisysgd/kernels/simd/kernels.inl>

namespace noisysgd::kernels::simd {

const SimdKernels portable_kernels = kernel_table("portable");

}  // namespace noisysgd::kernels::simd
