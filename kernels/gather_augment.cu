#include <noisysgd/kernels/gather_augment.h>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    gather_augment_kernel(const uint8_t* images, const int32_t* indices, int64_t N, int64_t M, int32_t H, int32_t W,
                          int32_t C, FastDivide by_channels, FastDivide by_width, const float* mean,
                          const float* inverse_std, AugmentOptions options, uint64_t seed, StepNumber epoch,
                          float* out) {
  const int32_t size = H * W * C;
  sample_stride(M, size, [&](int64_t m, int32_t i) {
    const int32_t index = indices[m];
    float* to = out + m * size + i;
    if (index < 0 || index >= N) {
      *to = NAN;
      return;
    }
    int32_t channel = i;
    int32_t column = by_channels.reduce(channel);
    const int32_t row = by_width.reduce(column);
    const AugmentDecision decision = decide_augmentation(options, seed, epoch, static_cast<uint32_t>(index));
    const int64_t y = source_row(options, decision, row), x = source_column(options, decision, column, W);
    const float black = __fmul_rn(-mean[channel], inverse_std[channel]);
    const bool inside = y >= 0 && y < H && x >= 0 && x < W;
    *to = inside ? multiply_then_add(static_cast<float>(images[index * int64_t{size} + (y * W + x) * C + channel]),
                                     inverse_std[channel] / 255.0f, black)
                 : black;
  });
}

}  // namespace

void gather_augment(Queue& queue, const ImageSet& set, const int32_t* indices, int64_t M,
                    const Augmentation& augmentation, float* out) {
  const int64_t H = set.height, W = set.width, C = set.channels;
  const AugmentOptions& options = augmentation.options;
  NSGD_CHECK(options.padding >= 0, "gather_augment: padding is {}, expected at least 0", options.padding);
  if (M * H * W * C == 0) return;
  NSGD_CHECK(H * W * C <= INT32_MAX, "gather_augment: images of {}x{}x{} are too large", H, W, C);
  const unsigned blocks = grid_size(H * W * C);
  launch(queue, gather_augment_kernel, dim3(blocks, sample_grid(M, blocks)), block_threads, 0, set.images, indices,
         set.count, M, static_cast<int32_t>(H), static_cast<int32_t>(W), static_cast<int32_t>(C), FastDivide(C),
         FastDivide(W), set.mean, set.inverse_std, options, augmentation.seed, augmentation.epoch, out);
}

}  // namespace noisysgd::kernels::cuda
