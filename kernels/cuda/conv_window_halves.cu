// Tilings of the window kernel for x stored in fp16 and grad_y in bf16, multiplied in bf16.
#include <noisysgd/kernels/cuda/conv_window.h>

namespace noisysgd::kernels::cuda::window {

// Bands have at least 8 rows where the image does: ldmatrix then reads 8 rows of one column without a bank conflict.
const ConvKernel* choose_halves(const ConvShape& shape, size_t shared_memory) {
  //                    size stride m k c groups band stages samples
  return choose<Tiling<Bf16, 32, 1, 1, 2, 4, 1, 8, 2>, Tiling<Bf16, 32, 1, 1, 1, 2, 3, 8, 2>,
                Tiling<Bf16, 16, 1, 1, 2, 4, 1, 8, 3>, Tiling<Bf16, 8, 1, 1, 2, 4, 1, 8, 4>,
                Tiling<Bf16, 4, 1, 2, 2, 4, 1, 4, 3, 4>, Tiling<Bf16, 16, 2, 1, 2, 2, 2, 8, 2>,
                Tiling<Bf16, 8, 2, 1, 2, 2, 3, 8, 2>, Tiling<Bf16, 4, 2, 1, 2, 2, 3, 4, 2>>(shape, shared_memory);
}

}  // namespace noisysgd::kernels::cuda::window
