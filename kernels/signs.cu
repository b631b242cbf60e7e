#include <noisysgd/kernels/signs.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__device__ float sign_at(const RandomStream& stream, uint64_t index, float scale) {
  const auto words = random_words(stream, static_cast<uint32_t>(index / 128));
  return words[index / 32 % 4] >> (index % 32) & 1u ? -scale : scale;
}

// Every thread computes its own Philox block, although neighbouring signs share one.
__global__ void __launch_bounds__(block_threads)
    multiply_signs_kernel(int64_t samples, int64_t positions, int64_t channels, SignGrain grain, float scale,
                          RandomStream stream, uint64_t sample_offset, const float* x, float* y) {
  grid_stride(samples * positions * channels, [&](int64_t i) {
    const int64_t row = i / channels, channel = i % channels;
    const uint64_t sample = sample_offset + static_cast<uint64_t>(row / positions);
    const uint64_t place = sample * static_cast<uint64_t>(positions) + static_cast<uint64_t>(row % positions);
    uint64_t index = sample;
    if (grain == SignGrain::sample_channel)
      index = sample * static_cast<uint64_t>(channels) + static_cast<uint64_t>(channel);
    if (grain == SignGrain::sample_position) index = place;
    if (grain == SignGrain::element) index = place * static_cast<uint64_t>(channels) + static_cast<uint64_t>(channel);
    const float sign = sign_at(stream, index, scale);
    y[i] = x ? sign * x[i] : sign;
  });
}

}  // namespace

void multiply_signs(Queue& queue, const SignArray& array, const float* x, float* y) {
  const int64_t samples = array.samples, positions = array.positions, channels = array.channels;
  const SignGrain grain = array.grain;
  NSGD_CHECK(grain != SignGrain::none, "multiply_signs: no grain for {} samples", samples);
  const int64_t n = samples * positions * channels;
  if (n > 0)
    launch(queue, multiply_signs_kernel, grid_size(n), block_threads, 0, samples, positions, channels, grain,
           array.scale, array.stream, array.sample_offset, x, y);
}

}  // namespace noisysgd::kernels::cuda
