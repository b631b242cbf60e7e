// The fused weight gradient: on tensor cores where precision and shape allow (kernels/cuda/conv_tensor.h), otherwise in
// shared-memory tiles, single precision, for any shape. There a block owns a tile of the weights,
// [output channels, taps], and a share of the samples; every thread keeps 4x4 weights of G_n, of their sum and of their
// second moment in registers and folds G_n into both when a sample ends. The shares write partial sums, which a second
// kernel adds in order.
#include "kernels/conv_second_moment.h"

#include "kernels/cuda/conv_geometry.h"
#include "kernels/cuda/conv_tensor.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"

namespace noisysgd::kernels::cuda {
namespace {

enum class SecondMoment { none, exact, spatial };

constexpr int micro = 4, positions_per_step = 16;

// Sums over output positions of outer products: of one sample where they are squared, else of all samples.
template <SecondMoment statistic>
struct Accumulators {
  float gradient[micro][micro] = {}, square[micro][micro] = {};
  float sample[micro][micro] = {};  // G_n

  __device__ void add(const float (&channels)[micro], const float (&taps)[micro]) {
    for (int i = 0; i < micro; ++i)
      for (int j = 0; j < micro; ++j) {
        if constexpr (statistic == SecondMoment::exact)
          sample[i][j] += channels[i] * taps[j];
        else
          gradient[i][j] += channels[i] * taps[j];
        if constexpr (statistic == SecondMoment::spatial)
          square[i][j] += (channels[i] * channels[i]) * (taps[j] * taps[j]);
      }
  }
  __device__ void end_sample() {
    if constexpr (statistic == SecondMoment::exact)
      for (int i = 0; i < micro; ++i)
        for (int j = 0; j < micro; ++j) {
          gradient[i][j] += sample[i][j];
          square[i][j] += sample[i][j] * sample[i][j];
          sample[i][j] = 0;
        }
  }
};

// Grid: tiles of taps, tiles of output channels, shares of the samples. partial [shares,moments,K,R,S,C].
template <SecondMoment statistic, int channel_tile>
__global__ void __launch_bounds__(block_threads)
    conv_weight_gradient_kernel(const __grid_constant__ ConvGeometry g, const float* x, const float* grad_y,
                                float* partial) {
  constexpr int tap_tile = block_threads * micro * micro / channel_tile;
  GPU_SHARED(float, channels, [positions_per_step][channel_tile + micro]);
  GPU_SHARED(float, taps, [positions_per_step][tap_tile + micro]);
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = thread / (tap_tile / micro) * micro, tap = thread % (tap_tile / micro) * micro;
  const int32_t channel0 = static_cast<int32_t>(blockIdx.y) * channel_tile;
  const int32_t tap0 = static_cast<int32_t>(blockIdx.x) * tap_tile;

  // What this thread copies: one column of each operand, at every position_step-th position.
  const int load_channel = thread % channel_tile, load_tap = thread % tap_tile;
  const bool has_channel = channel0 + load_channel < g.out_channels, has_tap = tap0 + load_tap < g.taps();
  const Tap source = tap_of(has_tap ? tap0 + load_tap : 0, g.by_in_channels, g.by_kernel_width);

  Accumulators<statistic> sums;
  for (int64_t n = blockIdx.z; n < g.batch; n += gridDim.z) {
    const float* sample_x = x + n * g.in_size();
    const float* sample_grad = grad_y + n * g.out_size() + channel0 + load_channel;
    for (int32_t first = 0; first < g.out_positions(); first += positions_per_step) {
      for (int t = thread / channel_tile; t < positions_per_step; t += block_threads / channel_tile)
        channels[t][load_channel] =
            has_channel && first + t < g.out_positions() ? sample_grad[(first + t) * g.out_channels] : 0.0f;
      for (int t = thread / tap_tile; t < positions_per_step; t += block_threads / tap_tile) {
        int32_t column = first + t;
        const int32_t row = g.by_out_width.reduce(column);
        const int32_t h = row * g.stride_height - g.padding_height + source.row;
        const int32_t w = column * g.stride_width - g.padding_width + source.column;
        const bool inside = has_tap && row < g.out_height && h >= 0 && h < g.height && w >= 0 && w < g.width;
        taps[t][load_tap] = inside ? sample_x[(h * g.width + w) * g.in_channels + source.channel] : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int t = 0; t < positions_per_step; ++t) {
        const float4 c = *reinterpret_cast<const float4*>(&channels[t][channel]);
        const float4 p = *reinterpret_cast<const float4*>(&taps[t][tap]);
        sums.add({c.x, c.y, c.z, c.w}, {p.x, p.y, p.z, p.w});
      }
      __syncthreads();
    }
    sums.end_sample();
  }

  constexpr int moments = statistic == SecondMoment::none ? 1 : 2;
  float* to = partial + int64_t{blockIdx.z} * moments * g.weights();
  for (int i = 0; i < micro; ++i)
    for (int j = 0; j < micro; ++j) {
      const int32_t k = channel0 + channel + i, p = tap0 + tap + j;
      if (k >= g.out_channels || p >= g.taps()) continue;
      to[k * g.taps() + p] = sums.gradient[i][j];
      if constexpr (moments == 2) to[g.weights() + k * g.taps() + p] = sums.square[i][j];
    }
}

// target += the shares' partial sums; second_moment null: only the gradient was summed
__global__ void __launch_bounds__(block_threads)
    sum_shares_kernel(int64_t shares, int64_t weights, const float* partial, float* grad_weight, float* second_moment) {
  const int64_t share_size = weights * (second_moment ? 2 : 1);
  grid_stride(weights, [&](int64_t i) {
    float gradient = 0, square = 0;
    for (int64_t share = 0; share < shares; ++share) {
      gradient += partial[share * share_size + i];
      if (second_moment) square += partial[share * share_size + weights + i];
    }
    grad_weight[i] += gradient;
    if (second_moment) second_moment[i] += square;
  });
}

// Lets compute(partial) fill [shares,moments,K,R,S,C] and adds the shares to the targets.
template <class Compute>
void with_shares(Queue& queue, const ConvShape& shape, int64_t shares, float* grad_weight, float* second_moment,
                 const Compute& compute) {
  const int64_t weights = shape.weights(), moments = second_moment ? 2 : 1;
  auto* partial = static_cast<float*>(queue.workspace(sizeof(float) * shares * moments * weights));
  compute(partial);
  launch(queue, sum_shares_kernel, grid_size(weights), block_threads, 0, shares, weights, partial, grad_weight,
         second_moment);
}

template <SecondMoment statistic, int channel_tile>
void launch_tiles(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, float* grad_weight,
                  float* second_moment) {
  const ConvGeometry geometry(shape);
  const int64_t tap_tiles = divide_up(geometry.taps(), block_threads * micro * micro / channel_tile);
  const int64_t channel_tiles = divide_up(shape.out_channels, channel_tile);
  // Enough blocks to fill a large GPU twice, as long as every share has a sample.
  const int64_t shares = std::clamp<int64_t>(512 / (tap_tiles * channel_tiles), 1, shape.batch);
  const dim3 grid(static_cast<unsigned>(tap_tiles), static_cast<unsigned>(channel_tiles),
                  static_cast<unsigned>(shares));
  with_shares(queue, shape, shares, grad_weight, second_moment, [&](float* partial) {
    launch(queue, conv_weight_gradient_kernel<statistic, channel_tile>, grid, block_threads, 0, geometry, x, grad_y,
           partial);
  });
}

// Narrow layers take tiles of few channels and many taps.
template <SecondMoment statistic>
void weight_gradient(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, float* grad_weight,
                     float* second_moment) {
  check(shape);
  if (shape.batch == 0) return;
  if (statistic != SecondMoment::spatial && queue.precision() != Precision::fp32) {
    const int64_t shares = conv_tensor_shares(shape, x, grad_y);
    if (shares > 0)
      return with_shares(queue, shape, shares, grad_weight, second_moment, [&](float* partial) {
        conv_tensor_weight_gradient(queue, shape, second_moment ? 2 : 1, x, grad_y, partial);
      });
  }
  const auto tiles = shape.out_channels <= 16   ? launch_tiles<statistic, 16>
                     : shape.out_channels <= 32 ? launch_tiles<statistic, 32>
                                                : launch_tiles<statistic, 64>;
  tiles(queue, shape, x, grad_y, grad_weight, second_moment);
}

}  // namespace

void conv_second_moment_exact(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                              float* grad_weight, float* second_moment) {
  weight_gradient<SecondMoment::exact>(queue, shape, x, grad_y, grad_weight, second_moment);
}

void conv_second_moment_spatial(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                float* grad_weight, float* second_moment) {
  weight_gradient<SecondMoment::spatial>(queue, shape, x, grad_y, grad_weight, second_moment);
}

void conv_backward_weight_direct(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                 float* grad_weight) {
  weight_gradient<SecondMoment::none>(queue, shape, x, grad_y, grad_weight, nullptr);
}

}  // namespace noisysgd::kernels::cuda
