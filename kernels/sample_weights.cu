#include <noisysgd/kernels/sample_weights.h>

#include <numbers>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

__device__ float draw(SampleDraw kind, const RandomStream& stream, uint64_t group) {
  if (kind == SampleDraw::constant) return 1.0f;
  if (kind == SampleDraw::sign) return random_word(stream, group) & 1u ? -1.0f : 1.0f;
  const double u = (random_word(stream, 2 * group) + 0.5) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * (random_word(stream, 2 * group + 1) * 0x1p-32);
  return static_cast<float>(sqrt(-2 * log(u)) * cos(angle));
}

// *mean = the mean of the draws of all groups, by one block
__global__ void __launch_bounds__(block_threads)
    draws_mean_kernel(int64_t groups, SampleDraw kind, RandomStream stream, double* mean) {
  double sum = 0;
  for (int64_t b = threadIdx.x; b < groups; b += block_threads)
    sum += static_cast<double>(draw(kind, stream, static_cast<uint64_t>(b)));
  sum = sum_block<block_threads>(sum);
  if (threadIdx.x == 0) *mean = sum / static_cast<double>(groups);
}

// mean: the mean of the draws; null: they are not centred.
__global__ void __launch_bounds__(block_threads)
    sample_weights_kernel(int64_t samples, SampleWeights options, int64_t groups, const double* mean,
                          RandomStream stream, float shift, float factor, float* weights) {
  grid_stride(samples, [&](int64_t n) {
    float sigma = draw(options.draw, stream, static_cast<uint64_t>(n / options.group));
    if (mean) {
      const auto count = static_cast<double>(groups);
      sigma = static_cast<float>((static_cast<double>(sigma) - *mean) * sqrt(count / (count - 1)));
    }
    weights[n] = multiply_then_add(factor, __fmul_rn(options.scale, sigma), shift);
  });
}

// A thread counts the samples with a smaller word than its own. M^2 comparisons cost little compared to a training
// step.
__global__ void __launch_bounds__(block_threads)
    subset_weights_kernel(int64_t samples, int64_t chosen, float inside, float outside, const uint32_t* words,
                          float* weights) {
  grid_stride(samples, [&](int64_t n) {
    const uint32_t own = words[n];
    int64_t smaller = 0;
    for (int64_t other = 0; other < samples; ++other)
      if (words[other] < own || (words[other] == own && other < n)) ++smaller;
    weights[n] = smaller < chosen ? inside : outside;
  });
}

__global__ void __launch_bounds__(block_threads) words_kernel(int64_t n, RandomStream stream, uint32_t* words) {
  grid_stride(n, [&](int64_t i) { words[i] = random_word(stream, static_cast<uint64_t>(i)); });
}

}  // namespace

void sample_weights(Queue& queue, const SampleWeights& options, const RandomStream& stream, int64_t samples,
                    float shift, float factor, float* weights) {
  const int64_t groups = count_groups(options, samples);
  if (samples == 0) return;
  Scratch scratch(queue);
  if (options.draw == SampleDraw::subset) {
    const int64_t chosen = std::min(samples, options.chosen);
    const auto u = static_cast<float>(static_cast<double>(samples) / static_cast<double>(chosen) - 1);
    auto* const words = scratch.take<uint32_t>(samples);
    launch(queue, words_kernel, grid_size(samples), block_threads, 0, samples, stream, words);
    launch(queue, subset_weights_kernel, grid_size(samples), block_threads, 0, samples, chosen, shift + factor * u,
           shift - factor, words, weights);
    return;
  }
  double* mean = nullptr;
  if (options.centered) {
    mean = scratch.take<double>(1);
    launch(queue, draws_mean_kernel, 1u, block_threads, 0, groups, options.draw, stream, mean);
  }
  launch(queue, sample_weights_kernel, grid_size(samples), block_threads, 0, samples, options, groups, mean, stream,
         shift, factor, weights);
}

}  // namespace noisysgd::kernels::cuda
