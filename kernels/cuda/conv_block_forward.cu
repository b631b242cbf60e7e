#include <noisysgd/kernels/cuda/conv_block.h>

namespace noisysgd::kernels::cuda {
namespace {

using namespace conv_block;

template <class T, class Input>
__global__ void __launch_bounds__(threads, T::blocks)
    conv_block_forward_kernel(const Items items, const Input input, const float* weight,
                              const StatisticsOutput<T> output) {
  GPU_DYNAMIC_SHARED(uint16_t, shared);
  convolve<false, T>(items, input, weight, output, shared);
}

template <class T, class Input>
void launch_forward(Queue& queue, const ConvBlockShape& shape, const Input& input, const float* weight,
                    const StatisticsOutput<T>& output) {
  const Items items = items_of(shape);
  launch(queue, conv_block_forward_kernel<T, Input>, grid_of<T>(queue, items), threads, T::shared_bytes(Input::arrays),
         items, input, weight, output);
}

}  // namespace

bool conv_block_takes(Queue& queue, const ConvBlockShape& shape) {
  constexpr int64_t most_elements = int64_t{1} << 31;
  const ConvShape& s = shape.conv;
  const bool same_size = s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
                         s.padding_height == 1 && s.padding_width == 1 && s.height == s.width &&
                         s.in_channels == s.out_channels;
  if (!same_size || shape.group <= 0 || s.batch % shape.group != 0 || shape.elements() > most_elements) return false;
  bool fits = false;
  with_tiling(shape, [&]<class T>(T) { fits = T::shared_bytes(2) <= queue.cuda().shared_memory(); });
  return fits;
}

void conv_block_forward(Queue& queue, const ConvBlockShape& shape, const ConvBlockInput& input, const float* weight,
                        const ConvBlockStatistics& statistics, Values y) {
  check(shape, input, y);
  NSGD_CHECK(conv_block_takes(queue, shape), "conv_block_forward: no kernel for {} channels of {}x{}",
             shape.conv.in_channels, shape.conv.height, shape.conv.width);
  if (shape.conv.batch == 0) return;
  const auto* const x = static_cast<const Half*>(input.x.address);
  const auto* const addend = static_cast<const Half*>(input.addend.address);
  auto* const made = static_cast<Half*>(input.made.address);
  with_tiling(shape, [&]<class T>(T) {
    const StatisticsOutput<T> output{static_cast<Half*>(y.address), statistics.mean, statistics.m2};
    if (!input.factor)
      launch_forward(queue, shape, PlainInput{x}, weight, output);
    else if (!addend)
      launch_forward(queue, shape, NormalisedInput<false>{x, nullptr, input.factor, input.term, made}, weight, output);
    else
      launch_forward(queue, shape, NormalisedInput<true>{x, addend, input.factor, input.term, made}, weight, output);
  });
}

}  // namespace noisysgd::kernels::cuda
