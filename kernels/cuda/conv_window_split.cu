// Tilings of the window kernel for single precision, with operands split into two tf32 each.
#include <noisysgd/kernels/cuda/conv_window.h>

namespace noisysgd::kernels::cuda::window {

const ConvKernel* choose_split(const ConvShape& shape, size_t shared_memory) {
  //                         size stride m k c groups band stages samples
  return choose<Tiling<SplitTf32, 32, 1, 1, 2, 4, 1, 4, 2>, Tiling<SplitTf32, 32, 1, 1, 1, 2, 4, 4, 2>,
                Tiling<SplitTf32, 16, 1, 1, 2, 4, 1, 8, 3>, Tiling<SplitTf32, 8, 1, 1, 2, 4, 1, 8, 4>,
                Tiling<SplitTf32, 4, 1, 1, 2, 4, 1, 4, 3, 4>, Tiling<SplitTf32, 16, 2, 1, 2, 2, 2, 4, 2>,
                Tiling<SplitTf32, 8, 2, 1, 2, 2, 2, 8, 2>, Tiling<SplitTf32, 4, 2, 1, 2, 2, 2, 4, 2>>(shape,
                                                                                                      shared_memory);
}

}  // namespace noisysgd::kernels::cuda::window
