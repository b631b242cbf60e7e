#include <noisysgd/kernels/bias.h>

#include <limits>

#include <noisysgd/kernels/channel_rows.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

NSGD_TARGET_CLONES void add_repeated(const float* wide_bias, int64_t width, int64_t n, float floor, float* y) {
  for (int64_t i = 0; i < n; i += width) {
    const int64_t count = std::min(width, n - i);
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const float sum = y[i + j] + wide_bias[j];
      y[i + j] = sum < floor ? floor : sum;
    }
  }
}

NSGD_TARGET_CLONES void mask(const float* output, const float* grad_y, int64_t n, float* grad_z) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) grad_z[i] = output[i] > 0 ? grad_y[i] : 0.0f;
}

// output: the output of the ReLU, whose gradient is written to grad_z; null: there is no ReLU.
void add_bias_sums(Queue& queue, int64_t samples, int64_t positions, int64_t channels, const float* output,
                   const float* grad_y, float* grad_z, float* grad_bias, float* second_moment) {
  if (samples == 0 || positions == 0 || channels == 0) return;
  const int64_t size = positions * channels, width = std::min(wide_row(channels), size);
  const int64_t blocks = std::min<int64_t>(samples, 64), moments = second_moment ? 2 : 1;
  Scratch scratch(queue);
  double* const block_sums = scratch.take<double>(blocks * moments * channels);  // [blocks,moments,C]
  float* const thread_sums = scratch.take<float>(queue.threads() * (width + channels));
  parallel_blocks(queue, blocks, samples * size, [&](int64_t block, int64_t thread) {
    double* sums = block_sums + block * moments * channels;
    float* wide = thread_sums + thread * (width + channels);
    float* sample_sum = wide + width;
    std::fill_n(sums, moments * channels, 0.0);
    for (int64_t n = samples * block / blocks; n < samples * (block + 1) / blocks; ++n) {
      std::fill_n(wide, width + channels, 0.0f);
      const float* gradient = grad_y + n * size;
      if (output) {
        mask(output + n * size, gradient, size, grad_z + n * size);
        gradient = grad_z + n * size;
      }
      sum_wide_rows(gradient, size, width, wide);
      fold_channels(wide, channels, width, sample_sum);
      for (int64_t c = 0; c < channels; ++c) sums[c] += sample_sum[c];
      if (second_moment)
        for (int64_t c = 0; c < channels; ++c) sums[channels + c] += double{sample_sum[c]} * sample_sum[c];
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      const double* sums = block_sums + block * moments * channels;
      sum += sums[c];
      if (second_moment) squares += sums[channels + c];
    }
    if (grad_bias) grad_bias[c] += static_cast<float>(sum);
    if (second_moment) second_moment[c] += static_cast<float>(squares);
  }
}

}  // namespace

void bias_add(Queue& queue, int64_t rows, int64_t channels, const BiasEpilogue& epilogue, float* y) {
  if (rows == 0 || channels == 0) return;
  if (!epilogue.bias) {
    if (epilogue.relu) relu_forward(queue, rows * channels, y, y);
    return;
  }
  const float floor = epilogue.relu ? 0.0f : -std::numeric_limits<float>::infinity();
  const int64_t width = wide_row(channels), rows_per_wide = width / channels;
  Scratch scratch(queue);
  float* const wide = scratch.take<float>(width);
  repeat_channels(epilogue.bias, channels, width, wide);
  const int64_t wide_rows = (rows + rows_per_wide - 1) / rows_per_wide;
  parallel_ranges(queue, wide_rows, std::max<int64_t>(1, 32768 / width), [&](int64_t begin, int64_t end) {
    add_repeated(wide, width, std::min(end * width, rows * channels) - begin * width, floor, y + begin * width);
  });
}

void bias_backward(Queue& queue, int64_t samples, int64_t positions, int64_t channels, const float* grad_y,
                   float* grad_bias, float* second_moment) {
  add_bias_sums(queue, samples, positions, channels, nullptr, grad_y, nullptr, grad_bias, second_moment);
}

void bias_relu_backward(Queue& queue, int64_t samples, int64_t positions, int64_t channels, const float* output,
                        const float* grad_y, float* grad_z, float* grad_bias, float* second_moment) {
  if (grad_bias || second_moment)
    add_bias_sums(queue, samples, positions, channels, output, grad_y, grad_z, grad_bias, second_moment);
  else
    relu_backward(queue, samples * positions * channels, output, grad_y, grad_z);
}

void bias_sample_gradients(Queue& queue, int64_t samples, int64_t positions, int64_t channels, const float* grad_y,
                           float* sums) {
  const int64_t width = std::min(wide_row(channels), positions * channels);
  Scratch scratch(queue);
  float* const thread_sums = scratch.take<float>(queue.threads() * width);
  parallel_blocks(queue, samples, samples * positions * channels, [&](int64_t n, int64_t thread) {
    float* wide = thread_sums + thread * width;
    std::fill_n(wide, width, 0.0f);
    sum_wide_rows(grad_y + n * positions * channels, positions * channels, width, wide);
    std::fill_n(sums + n * channels, channels, 0.0f);
    fold_channels(wide, channels, width, sums + n * channels);
  });
}

}  // namespace noisysgd::kernels::cpu
