// The weight gradient of any convolution and its second moments in single precision, in shared-memory tiles. A block
// computes a tile of the weights, [output channels, taps], from a share of the samples. Every thread keeps 4x4 weights
// of G_n, of their sum and of their second moment in registers. When a sample ends, G_n is added to the sum, and its
// square to the second moment. If centring is requested, the second moment is of G_n - C_n instead (SampleSums in
// kernels/conv_second_moment.h).
#include <algorithm>

#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/merge_shares.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int micro = 4, positions_per_step = 16;

// The thread's part of the operands of C_n, which is subtracted from G_n before the square.
struct Centering {
  float mean[micro] = {}, slope[micro][micro] = {};
  int channels = 0;  // those of the thread's `micro` output channels that exist

  __device__ void load(const ConvGeometry& g, const SampleSums& sums, int32_t k, int32_t p) {
    while (channels < micro && k + channels < g.out_channels) ++channels;
    for (int j = 0; j < micro; ++j) {
      if (p + j >= g.taps()) continue;
      mean[j] = sums.tap_mean[p + j];
      for (int i = 0; i < channels; ++i) slope[i][j] = sums.slope[(k + i) * g.taps() + p + j];
    }
  }
};

// Sums of outer products over output positions: over one sample if they are squared, else over all samples. centered:
// C_n is subtracted before the square.
template <SecondMoment kind, bool centered>
struct Accumulators {
  float gradient[micro][micro] = {}, square[micro][micro] = {};
  float sample[micro][micro] = {};  // G_n

  __device__ void add(const float (&channels)[micro], const float (&taps)[micro]) {
    for (int i = 0; i < micro; ++i)
      for (int j = 0; j < micro; ++j) {
        if constexpr (kind == SecondMoment::exact)
          sample[i][j] += channels[i] * taps[j];
        else
          gradient[i][j] += channels[i] * taps[j];
        if constexpr (kind == SecondMoment::spatial) square[i][j] += (channels[i] * channels[i]) * (taps[j] * taps[j]);
      }
  }
  // row: index of this sample and this thread's first channel in arrays [N,K].
  __device__ void end_sample(const Centering& centering, const SampleSums& wanted, int64_t row) {
    if constexpr (kind == SecondMoment::exact)
      for (int i = 0; i < micro; ++i)
        for (int j = 0; j < micro; ++j) {
          float g = sample[i][j];
          gradient[i][j] += g;
          if (centered && i < centering.channels)
            g -= centering.mean[j] * wanted.channel_sum[row + i] +
                 centering.slope[i][j] * wanted.channel_product[row + i];
          square[i][j] += g * g;
          sample[i][j] = 0;
        }
  }
};

// Grid: tiles of the weights, shares of the samples.
template <SecondMoment kind, bool centered, int channel_tile>
__global__ void __launch_bounds__(block_threads)
    conv_tiles_kernel(const __grid_constant__ ConvGeometry g, const __grid_constant__ SampleSums wanted, const float* x,
                      const float* grad_y, const __grid_constant__ ShareMerge merge) {
  constexpr int tap_tile = block_threads * micro * micro / channel_tile;
  GPU_SHARED(float, channels, [positions_per_step][channel_tile + micro]);
  GPU_SHARED(float, taps, [positions_per_step][tap_tile + micro]);
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = thread / (tap_tile / micro) * micro, tap = thread % (tap_tile / micro) * micro;
  const auto tile = static_cast<int32_t>(blockIdx.x), share = static_cast<int32_t>(blockIdx.y);
  const int32_t channel0 = tile / merge.tiles.column_tiles() * channel_tile;
  const int32_t tap0 = tile % merge.tiles.column_tiles() * tap_tile;

  // This thread copies one column of each operand, at every position_step-th position.
  const int load_channel = thread % channel_tile, load_tap = thread % tap_tile;
  const bool has_channel = channel0 + load_channel < g.out_channels, has_tap = tap0 + load_tap < g.taps();
  const Tap source = tap_of(has_tap ? tap0 + load_tap : 0, g.by_in_channels, g.by_kernel_width);

  Accumulators<kind, centered> sums;
  Centering centering;
  if constexpr (centered) centering.load(g, wanted, channel0 + channel, tap0 + tap);
  for (int64_t n = share; n < g.batch; n += gridDim.y) {
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
    sums.end_sample(centering, wanted, n * g.out_channels + channel0 + channel);
  }

  const auto store = [&](int32_t sum, const float(&values)[micro][micro]) {
    float* const to = merge.part(share, tile, sum) + channel * tap_tile + tap;
    for (int i = 0; i < micro; ++i)
      store_vector(to + i * tap_tile, FloatVector<micro>{values[i][0], values[i][1], values[i][2], values[i][3]});
  };
  store(0, sums.gradient);
  if constexpr (kind != SecondMoment::none) store(1, sums.square);
  merge_shares(merge, tile, share);
}

template <int channel_tile>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles{static_cast<int32_t>(s.out_channels), static_cast<int32_t>(s.weights() / s.out_channels),
                          channel_tile, block_threads * micro * micro / channel_tile};
  // Enough blocks to fill a large GPU twice, but no share without a sample.
  return {tiles, std::clamp<int64_t>(512 / tiles.count(), 1, s.batch)};
}

template <int channel_tile>
void launch_kernel(Queue& queue, void (*kernel)(ConvGeometry, SampleSums, const float*, const float*, ShareMerge),
                   const ConvShape& s, const SampleSums& sums, const float* x, const float* grad_y,
                   const WeightSums& to) {
  const ConvGeometry geometry(s);
  launch_merged(queue, grid_of<channel_tile>(s), to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue, kernel, blocks, block_threads, 0, geometry, sums, x, grad_y, merge);
  });
}

template <int channel_tile>
void launch_tiles(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                  const WeightSums& to) {
  launch_kernel<channel_tile>(queue,
                              kind == SecondMoment::exact ? conv_tiles_kernel<SecondMoment::exact, false, channel_tile>
                              : kind == SecondMoment::spatial
                                  ? conv_tiles_kernel<SecondMoment::spatial, false, channel_tile>
                                  : conv_tiles_kernel<SecondMoment::none, false, channel_tile>,
                              s, SampleSums{}, x.f32("conv_tiles"), grad_y.f32("conv_tiles"), to);
}

template <int channel_tile>
void launch_centered(Queue& queue, const ConvShape& s, const SampleSums& sums, const float* x, const float* grad_y,
                     const WeightSums& to) {
  launch_kernel<channel_tile>(queue, conv_tiles_kernel<SecondMoment::exact, true, channel_tile>, s, sums, x, grad_y,
                              to);
}

template <int channel_tile>
constexpr ConvKernel kernel_of = {&grid_of<channel_tile>, &launch_tiles<channel_tile>};

}  // namespace

// Layers with few output channels use tiles of few channels and many taps.
const ConvKernel& conv_tiles(const ConvShape& shape) {
  if (shape.out_channels <= 16) return kernel_of<16>;
  return shape.out_channels <= 32 ? kernel_of<32> : kernel_of<64>;
}

void conv_tiles_centered(Queue& queue, const ConvShape& shape, const SampleSums& sums, const float* x,
                         const float* grad_y, const WeightSums& to) {
  const auto centered = shape.out_channels <= 16   ? launch_centered<16>
                        : shape.out_channels <= 32 ? launch_centered<32>
                                                   : launch_centered<64>;
  centered(queue, shape, sums, x, grad_y, to);
}

}  // namespace noisysgd::kernels::cuda
