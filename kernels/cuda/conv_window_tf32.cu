// Tilings of the window kernel for operands rounded to tf32.
#include <noisysgd/kernels/cuda/conv_window.h>

namespace noisysgd::kernels::cuda::window {

// Larger tiles come first: they read shared memory less often.
const ConvKernel* choose_tf32(const ConvShape& shape, size_t shared_memory) {
  //                    size stride m k c groups band stages samples
  return choose<Tiling<Tf32, 32, 1, 1, 2, 4, 1, 4, 2>, Tiling<Tf32, 32, 1, 1, 1, 2, 5, 4, 2>,
                Tiling<Tf32, 16, 1, 1, 2, 4, 1, 8, 3>, Tiling<Tf32, 8, 1, 1, 2, 4, 1, 8, 4>,
                Tiling<Tf32, 4, 1, 2, 2, 4, 1, 4, 3, 4>, Tiling<Tf32, 16, 2, 1, 2, 2, 3, 4, 2>,
                Tiling<Tf32, 8, 2, 1, 2, 2, 3, 8, 2>, Tiling<Tf32, 4, 2, 1, 2, 2, 3, 4, 2>>(shape, shared_memory);
}

}  // namespace noisysgd::kernels::cuda::window
