#include <noisysgd/kernels/bias.h>

#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/last_block.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/sample_sums.h>
#include <noisysgd/kernels/cuda/with_element.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

template <class T, bool relu>
__global__ void __launch_bounds__(block_threads)
    bias_add_kernel(int64_t rows, int64_t channels, const float* bias, T* y) {
  channel_stride(
      rows, channels, [&](int64_t channel) { return bias[channel]; },
      [&](int64_t i, float add) {
        const float sum = as_float(y[i]) + add;
        y[i] = as_stored<T>(relu && sum < 0 ? 0.0f : sum);
      });
}

// The output [N,T,K] of a ReLU, and the destination of its gradient.
template <class Types>
struct ReluGradient {
  const typename Types::Value* output;
  typename Types::Gradient* grad_z;
};

// Like sum_positions, for the gradient of a ReLU, which it also writes.
template <class Types>
__device__ void mask_positions(int64_t n, int64_t positions, int64_t channels, int width, int64_t channel,
                               const typename Types::Gradient* grad_y, const ReluGradient<Types>& to, float& sum) {
  constexpr int rows_at_once = 4;  // loaded before the first store, which later loads cannot overtake
  const int row = static_cast<int>(threadIdx.x) % warp_lanes / width, position_groups = warp_lanes / width;
  for (int64_t t = row; t < positions; t += rows_at_once * position_groups) {
    float grads[rows_at_once] = {}, outputs[rows_at_once] = {};
    const int64_t start = (n * positions + t) * channels + channel, step = position_groups * channels;
#pragma unroll
    for (int r = 0; r < rows_at_once; ++r) {
      if (t + r * position_groups >= positions) break;
      grads[r] = as_float(grad_y[start + r * step]);
      outputs[r] = as_float(to.output[start + r * step]);
    }
#pragma unroll
    for (int r = 0; r < rows_at_once; ++r) {
      if (t + r * position_groups >= positions) break;
      const float grad = outputs[r] > 0 ? grads[r] : 0.0f;
      to.grad_z[start + r * step] = as_stored<typename Types::Gradient>(grad);
      sum += grad;
    }
  }
}

// Sums over all samples, accumulated; each may be null.
struct BiasSums {
  float *gradient, *second_moment;  // [C]
};

// Adds up the sums of the chunks, partial [chunks,2,C], for a tile of `width` channels.
__device__ void merge_chunks(int64_t chunks, int64_t channels, int width, const double* partial, const BiasSums& sums) {
  const int64_t channel = int64_t{blockIdx.x} * width + threadIdx.x % static_cast<unsigned>(width);
  double totals[2] = {};
  if (channel < channels)
#pragma unroll 4
    for (int64_t chunk = threadIdx.x / static_cast<unsigned>(width); chunk < chunks; chunk += block_threads / width)
      for (int moment = 0; moment < 2; ++moment) totals[moment] += partial[(2 * chunk + moment) * channels + channel];
  sum_columns(totals, width);
  if (threadIdx.x >= static_cast<unsigned>(width) || channel >= channels) return;
  if (sums.gradient) sums.gradient[channel] += static_cast<float>(totals[0]);
  if (sums.second_moment) sums.second_moment[channel] += static_cast<float>(totals[1]);
}

// Grid: channel tiles, chunks of the samples. partial [chunks,2,C]: sum and sum of squares of the samples' sums, for
// the samples of one chunk.
template <class Types, bool relu>
__global__ void __launch_bounds__(block_threads)
    bias_samples_kernel(int64_t samples, int64_t positions, int64_t channels, int width,
                        const typename Types::Gradient* grad_y, ReluGradient<Types> relu_gradient, double* partial,
                        unsigned* counters, BiasSums sums) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t channel = int64_t{blockIdx.x} * width + lane % width, chunk = blockIdx.y, chunks = gridDim.y;
  double totals[2];
  sum_samples<1>(
      samples * chunk / chunks, samples * (chunk + 1) / chunks, width, channel < channels,
      [&](int64_t n, float(&sample)[1]) {
        if constexpr (relu)
          mask_positions<Types>(n, positions, channels, width, channel, grad_y, relu_gradient, sample[0]);
        else
          sum_positions(
              n, positions, channels, width, [&](int64_t i, float(&s)[1]) { s[0] += as_float(grad_y[i + channel]); },
              sample);
      },
      totals);
  if (threadIdx.x < static_cast<unsigned>(width) && channel < channels)
    for (int moment = 0; moment < 2; ++moment) partial[(2 * chunk + moment) * channels + channel] = totals[moment];
  if (is_last_block(counters + blockIdx.x, gridDim.y)) merge_chunks(chunks, channels, width, partial, sums);
}

// Grid: see for_each_sample.
template <class T>
__global__ void __launch_bounds__(block_threads)
    bias_sample_gradients_kernel(int64_t samples, int64_t positions, int64_t channels, int width, const T* grad_y,
                                 float* sums) {
  for_each_sample<1>(
      samples, positions, channels, width,
      [&](int64_t, int64_t, int64_t i, float(&terms)[1]) { terms[0] += as_float(grad_y[i]); },
      [&](int64_t n, int64_t channel, const float(&terms)[1]) { sums[n * channels + channel] = terms[0]; });
}

template <bool relu, class Types>
void add_bias_sums(Queue& queue, int64_t samples, int64_t positions, int64_t channels,
                   const typename Types::Gradient* grad_y, const ReluGradient<Types>& relu_gradient, float* grad_bias,
                   float* second_moment) {
  if (samples == 0 || positions == 0 || channels == 0) return;
  const int width = channel_width(channels);
  const int64_t tiles = divide_up(channels, width);
  const int64_t chunks = std::min<int64_t>(divide_up(samples, warps_per_block), std::max<int64_t>(1, 512 / tiles));
  Scratch scratch(queue);
  double* const partial = scratch.take<double>(2 * chunks * channels);
  unsigned* const counters = queue.cuda().counters(chunks > 1 ? tiles : 0);
  launch(queue, bias_samples_kernel<Types, relu>, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(chunks)),
         block_threads, 0, samples, positions, channels, width, grad_y, relu_gradient, partial, counters,
         BiasSums{grad_bias, second_moment});
}

}  // namespace

void bias_add(Queue& queue, int64_t rows, int64_t channels, const BiasEpilogue& epilogue, Values y) {
  if (rows == 0 || channels == 0) return;
  if (!epilogue.bias) {
    if (epilogue.relu) kernels::relu_forward(queue, rows * channels, y, y);
    return;
  }
  with_stored_types("bias_add", y.type, [&]<class Types>(Types) {
    using T = typename Types::Value;
    launch(queue, epilogue.relu ? bias_add_kernel<T, true> : bias_add_kernel<T, false>, channel_grid(rows, channels),
           block_threads, 0, rows, channels, epilogue.bias, array_of<T>("bias_add", y));
  });
}

void bias_backward(Queue& queue, int64_t samples, int64_t positions, int64_t channels, ConstValues grad_y,
                   float* grad_bias, float* second_moment) {
  with_stored_types("bias_backward", grad_y.type, [&]<class Types>(Types) {
    add_bias_sums<false, Types>(queue, samples, positions, channels,
                                array_of<typename Types::Gradient>("bias_backward", grad_y), {}, grad_bias,
                                second_moment);
  });
}

void bias_relu_backward(Queue& queue, int64_t samples, int64_t positions, int64_t channels, ConstValues output,
                        ConstValues grad_y, Values grad_z, float* grad_bias, float* second_moment) {
  if (!grad_bias && !second_moment)
    return kernels::relu_backward(queue, samples * positions * channels, output, grad_y, grad_z);
  constexpr const char* op = "bias_relu_backward";
  with_stored_types(op, grad_y.type, [&]<class Types>(Types) {
    using Gradient = typename Types::Gradient;
    add_bias_sums<true, Types>(queue, samples, positions, channels, array_of<Gradient>(op, grad_y),
                               {array_of<typename Types::Value>(op, output), array_of<Gradient>(op, grad_z)}, grad_bias,
                               second_moment);
  });
}

void bias_sample_gradients(Queue& queue, int64_t samples, int64_t positions, int64_t channels, ConstValues grad_y,
                           float* sums) {
  if (samples == 0 || positions == 0 || channels == 0) return;
  with_stored_types("bias_sample_gradients", grad_y.type, [&]<class Types>(Types) {
    using T = typename Types::Gradient;
    launch(queue, bias_sample_gradients_kernel<T>, sample_channel_grid(samples, channels), block_threads, 0, samples,
           positions, channels, channel_width(channels), array_of<T>("bias_sample_gradients", grad_y), sums);
  });
}

}  // namespace noisysgd::kernels::cuda
