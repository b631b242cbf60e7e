#include <noisysgd/kernels/gram.h>

#include <noisysgd/kernels/gemm.h>

namespace noisysgd::kernels::cuda {

void gram(Queue& queue, int64_t rows, int64_t columns, const float* x, float* gram) {
  cuda::gemm(queue, Transpose::yes, Transpose::no, columns, columns, rows, 1.0f, x, x, 1.0f, gram);
}

}  // namespace noisysgd::kernels::cuda
