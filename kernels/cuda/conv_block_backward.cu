#include <noisysgd/kernels/cuda/conv_block.h>

namespace noisysgd::kernels::cuda {
namespace {

using namespace conv_block;

template <class T, bool of_sum>
__global__ void __launch_bounds__(threads, T::blocks)
    conv_block_backward_kernel(const Items items, const GradientInput input, const float* weight,
                               const MaskedOutput<T, of_sum> output) {
  GPU_DYNAMIC_SHARED(uint16_t, shared);
  convolve<true, T>(items, input, weight, output, shared);
}

template <class T, bool of_sum>
void launch_backward(Queue& queue, const ConvBlockShape& shape, const GradientInput& input, const float* weight,
                     const ConvBlockBefore& before, BFloat16* grad_x) {
  const MaskedOutput<T, of_sum> output{grad_x,
                                       static_cast<const Half*>(before.x.address),
                                       static_cast<const Half*>(before.sum.address),
                                       static_cast<const BFloat16*>(before.other.address),
                                       before.mean,
                                       before.factor,
                                       before.term,
                                       before.sums};
  const Items items = items_of(shape);
  launch(queue, conv_block_backward_kernel<T, of_sum>, grid_of<T>(queue, items), threads,
         T::shared_bytes(GradientInput::arrays), items, input, weight, output);
}

}  // namespace

void conv_block_backward_data(Queue& queue, const ConvBlockShape& shape, const float* weight,
                              const ConvBlockGradient& gradient, const ConvBlockBefore& before, Values grad_x) {
  check(shape, gradient, before, grad_x);
  NSGD_CHECK(conv_block_takes(queue, shape), "conv_block_backward_data: no kernel for {} channels of {}x{}",
             shape.conv.in_channels, shape.conv.height, shape.conv.width);
  if (shape.conv.batch == 0) return;
  const GradientInput input{static_cast<const BFloat16*>(gradient.grad.address),
                            static_cast<const Half*>(gradient.y.address),
                            gradient.factor_grad,
                            gradient.factor_y,
                            gradient.term,
                            static_cast<BFloat16*>(gradient.made.address)};
  auto* const to = static_cast<BFloat16*>(grad_x.address);
  with_tiling(shape, [&]<class T>(T) {
    before.sum ? launch_backward<T, true>(queue, shape, input, weight, before, to)
               : launch_backward<T, false>(queue, shape, input, weight, before, to);
  });
}

}  // namespace noisysgd::kernels::cuda
