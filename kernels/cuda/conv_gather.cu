// The weight gradient of any convolution and its second moments on tensor cores, operands rounded to tf32. A
// group of warps computes a tile of the weights, [output channels, patch elements (r,s,c)], from one sample at a time
// and 16 output positions at a time. Asynchronous copies gather the patches, zero outside the image, into a ring of
// stages: neighbouring channels, as many as fit into 16, 8 or 4 bytes by channel count and address. The arrays are
// copied as they are stored, and elements of 16 bits are widened in registers. Groups of a block, and blocks along the
// grid's second dimension, process different samples.
#include <algorithm>
#include <bit>

#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/copy_or_zero.h>
#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/merge_shares.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/shared_pitch.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int step_positions = 16, stages = 3;
constexpr int m_tiles = 2, n_tiles = 4;  // of a warp: 32 output channels, 32 patch elements
constexpr int64_t blocks_at_work = 2 * 132;
using GradientHalves = StoredTypes<float, BFloat16>;  // first layers: x of 1 or 3 channels is widened before

template <int warps_k_, int warps_n_, int groups_>
struct Tiling {
  using Format = Tf32;
  using Register = Format::Register;
  static constexpr int warps_k = warps_k_, warps_n = warps_n_, groups = groups_;
  static constexpr int k_tile = warps_k * m_tiles * 16, n_tile = warps_n * n_tiles * 8;
  static constexpr int group_threads = warps_k * warps_n * warp_lanes, threads = groups * group_threads;
  static_assert(group_threads >= k_tile && group_threads >= n_tile);  // every row has at most a part for each thread
  static constexpr int channel_pitch = k_tile + 8, tap_pitch = n_tile + 8;
};

// The ring of a tiling for x and grad_y of the element types Types. A stage is grad_y [step_positions,channel_pitch]
// and x [step_positions,tap_pitch].
template <class Types, class T>
struct Ring {
  using Value = typename Types::Value;
  using Gradient = typename Types::Gradient;
  static constexpr int channel_bytes = step_positions * T::channel_pitch * sizeof(Gradient);
  static constexpr int stage_bytes = channel_bytes + step_positions * T::tap_pitch * sizeof(Value);
  static constexpr size_t shared_bytes =
      std::max(T::groups * stages * size_t{stage_bytes}, sizeof(float) * group_floats(T::groups, T::k_tile, T::n_tile));
  static_assert(T::channel_pitch * sizeof(Gradient) % 16 == 0 && T::tap_pitch * sizeof(Value) % 16 == 0);
  static_assert(conflict_free_rows(T::channel_pitch, sizeof(Gradient)) &&
                conflict_free_rows(T::tap_pitch, sizeof(Value)));
  static_assert(shared_bytes + last_block_bytes <= least_shared_memory);

  unsigned char* begin;  // of the group
  __device__ Gradient* channels(int item) const {
    return reinterpret_cast<Gradient*>(begin + item % stages * stage_bytes);
  }
  __device__ Value* taps(int item) const {
    return reinterpret_cast<Value*>(begin + item % stages * stage_bytes + channel_bytes);
  }
};

// How the threads of a group copy the rows of a tile: in parts of `bytes` bytes, 1 << log_parts of them in a row.
// Neighbouring threads have neighbouring parts.
struct Copies {
  int bytes, log_parts;

  Copies(int bytes_, size_t row_bytes)
      : bytes(bytes_), log_parts(std::countr_zero(row_bytes / static_cast<size_t>(bytes_))) {}
  // The first element of the parts of a thread, which are in several rows.
  template <class Element>
  __device__ int column(int thread) const {
    return (thread & ((1 << log_parts) - 1)) * (bytes / static_cast<int>(sizeof(Element)));
  }
  // Calls body(t) for every row t of which the thread has a part.
  template <class T, class Body>
  __device__ void visit_rows(int thread, const Body& body) const {
#pragma unroll 1
    for (int t = thread >> log_parts; t < step_positions; t += T::group_threads >> log_parts) body(t);
  }
};
struct OperandCopies {
  Copies grad_y, x;
};

// The part of a group: the first weights of its tile, and its samples first, first + step, ...
struct Share {
  int32_t k0, n0;
  int64_t first, step;
};

// step_positions positions of sample n from position `first` on.
struct Item {
  int64_t n;
  int32_t first;
  bool exists;

  __device__ Item(const ConvGeometry& g, const Share& share, int item, int steps)
      : n(share.first + item / steps * share.step), first(item % steps * step_positions), exists(n < g.batch) {
    if (!exists) n = 0;  // a valid address
  }
};

// Starts the copies of grad_y at the item's positions and the tile's output channels.
template <class T, class Element>
__device__ void load_channels(const ConvGeometry& g, const Copies& copies, const Element* grad_y, const Share& share,
                              const Item& item, int thread, Element* channels) {
  const Element* const sample = grad_y + item.n * g.out_size();
  const int column = copies.column<Element>(thread);
  const int32_t k = share.k0 + column;
  copies.visit_rows<T>(thread, [&](int t) {
    const bool inside = item.exists && k < g.out_channels && item.first + t < g.out_positions();
    copy_or_zero(channels + t * T::channel_pitch + column,
                 sample + (inside ? (item.first + t) * g.out_channels + k : 0), copies.bytes, inside);
  });
}

// The same of x at the tile's patch elements. The elements of a copy are channels of one pixel.
template <class T, class Element>
__device__ void load_taps(const ConvGeometry& g, const Copies& copies, const Element* x, const Share& share,
                          const Item& item, int thread, Element* taps) {
  const Element* const sample = x + item.n * g.in_size();
  const int column = copies.column<Element>(thread);
  const bool has_tap = share.n0 + column < g.taps();
  const Tap tap = tap_of(has_tap ? share.n0 + column : 0, g.by_in_channels, g.by_kernel_width);
  copies.visit_rows<T>(thread, [&](int t) {
    int32_t out_column = item.first + t;
    const int32_t row = g.by_out_width.reduce(out_column);
    const int32_t h = row * g.stride_height - g.padding_height + tap.row;
    const int32_t w = out_column * g.stride_width - g.padding_width + tap.column;
    const bool inside = item.exists && has_tap && row < g.out_height && h >= 0 && h < g.height && w >= 0 && w < g.width;
    copy_or_zero(taps + t * T::tap_pitch + column,
                 sample + (inside ? (h * g.width + w) * g.in_channels + tap.channel : 0), copies.bytes, inside);
  });
}

using Fragments = float[m_tiles][n_tiles][4];

// Adds the products over Format::depth positions to gradient and, of the squared operands, to square.
template <class T, bool spatial, class Gradient, class Value>
__device__ void multiply_positions(const Gradient* channels, const Value* taps, Fragments& gradient,
                                   Fragments& square) {
  using Format = typename T::Format;
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, group = lane / 4, place = lane % 4;
  const auto round = []<class Element>(Element stored, typename T::Register& to, typename T::Register& to_square) {
    const float value = as_float(stored);
    to = operand_of<Format, Element>({value});
    if constexpr (spatial) to_square = Format::round({value * value});
  };
  typename T::Register right[n_tiles][2], right_squares[n_tiles][2];
#pragma unroll
  for (int n = 0; n < n_tiles; ++n)
    for (int half = 0; half < 2; ++half)
      round(taps[Format::depth_index(place, half, 0) * T::tap_pitch + n * 8 + group], right[n][half],
            right_squares[n][half]);
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
    typename T::Register left[4], left_squares[4];
    for (int i = 0; i < 4; ++i)
      round(channels[Format::depth_index(place, i / 2, 0) * T::channel_pitch + m * 16 + group + i % 2 * 8], left[i],
            left_squares[i]);
#pragma unroll
    for (int n = 0; n < n_tiles; ++n) {
      Format::multiply(gradient[m][n], left, right[n]);
      if constexpr (spatial) Format::multiply(square[m][n], left_squares, right_squares[n]);
    }
  }
}

// Writes a warp's sums to a tile [output channels,pitch], from output channel k and patch element n of it on.
__device__ void store_fragments(int k, int n, const Fragments& sums, float* tile, int pitch) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  float* const to = tile + (k + lane / 4) * pitch + n + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m)
#pragma unroll
    for (int j = 0; j < n_tiles; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_vector(to + (m * 16 + half * 8) * pitch + j * 8,
                     FloatVector<2>{sums[m][j][2 * half], sums[m][j][2 * half + 1]});
}

// Grid: tiles of the weights, shares of the samples.
template <class Types, class T, SecondMoment kind>
__global__ void __launch_bounds__(T::threads, 2)
    conv_gather_kernel(const __grid_constant__ ConvGeometry g, const __grid_constant__ OperandCopies copies,
                       const typename Types::Value* x, const typename Types::Gradient* grad_y,
                       const __grid_constant__ ShareMerge merge) {
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  constexpr bool exact = kind == SecondMoment::exact;
  const int thread = static_cast<int>(threadIdx.x) % T::group_threads;
  const int group = static_cast<int>(threadIdx.x) / T::group_threads, warp = thread / warp_lanes;
  const int warp_k = warp % T::warps_k, warp_n = warp / T::warps_k;
  const int64_t shares = int64_t{gridDim.y} * T::groups;
  const auto tile = static_cast<int32_t>(blockIdx.x), row_tiles = merge.tiles.column_tiles();
  const Share share{tile / row_tiles * T::k_tile, tile % row_tiles * T::n_tile, int64_t{blockIdx.y} * T::groups + group,
                    shares};
  const Ring<Types, T> ring{shared + group * stages * Ring<Types, T>::stage_bytes};
  // All groups process the same number of samples, so that one barrier serves the block; the last one may not exist.
  const int steps = (g.out_positions() + step_positions - 1) / step_positions;
  const int items = static_cast<int>((g.batch + shares - 1) / shares) * steps;
  const auto load = [&](int item) {
    if (item < items) {
      const Item from(g, share, item, steps);
      load_channels<T>(g, copies.grad_y, grad_y, share, from, thread, ring.channels(item));
      load_taps<T>(g, copies.x, x, share, from, thread, ring.taps(item));
    }
    __pipeline_commit();
  };

  Fragments gradient{}, square{}, sample{};
#pragma unroll 1
  for (int item = 0; item < stages - 1; ++item) load(item);
  int step = 0;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(stages - 2);
    __syncthreads();  // the item has arrived, and no thread still reads the stage that is filled next
    load(item + stages - 1);
    const auto* const channels = ring.channels(item) + warp_k * m_tiles * 16;
    const auto* const taps = ring.taps(item) + warp_n * n_tiles * 8;
#pragma unroll
    for (int t = 0; t < step_positions; t += T::Format::depth)
      multiply_positions<T, kind == SecondMoment::spatial>(channels + t * T::channel_pitch, taps + t * T::tap_pitch,
                                                           exact ? sample : gradient, square);
    if (++step < steps) continue;
    step = 0;  // the sample is complete: it is added to the sums and reset
    if constexpr (exact)
#pragma unroll
      for (int m = 0; m < m_tiles; ++m)
#pragma unroll
        for (int n = 0; n < n_tiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            gradient[m][n][i] += sample[m][n][i];
            square[m][n][i] += sample[m][n][i] * sample[m][n][i];
            sample[m][n][i] = 0;
          }
  }

  const auto part = static_cast<int32_t>(blockIdx.y);
  const auto store = [&](int32_t sum, const Fragments& fragments) {
    store_part<T::groups, T::k_tile, T::n_tile>(
        reinterpret_cast<float*>(shared), group, merge.part(part, tile, sum), [&](float* to, int pitch) {
          store_fragments(warp_k * m_tiles * 16, warp_n * n_tiles * 8, fragments, to, pitch);
        });
  };
  store(0, gradient);
  if constexpr (kind != SecondMoment::none) store(1, square);
  merge_shares(merge, tile, part);
}

template <class T>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles{static_cast<int32_t>(s.out_channels), static_cast<int32_t>(s.weights() / s.out_channels),
                          T::k_tile, T::n_tile};
  return {tiles, std::clamp<int64_t>(blocks_at_work / tiles.count(), 1, divide_up(s.batch, T::groups))};
}

template <class Types, class T>
void launch_kernel(Queue& queue, const ConvShape& s, SecondMoment kind, ConstValues x, ConstValues grad_y,
                   const WeightSums& to) {
  const OperandCopies copies{{conv_gather_bytes(s.out_channels, grad_y), T::k_tile * size_of(grad_y.type)},
                             {conv_gather_bytes(s.in_channels, x), T::n_tile * size_of(x.type)}};
  const ConvGeometry geometry(s);
  launch_merged(queue, grid_of<T>(s), to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue,
           kind == SecondMoment::exact     ? conv_gather_kernel<Types, T, SecondMoment::exact>
           : kind == SecondMoment::spatial ? conv_gather_kernel<Types, T, SecondMoment::spatial>
                                           : conv_gather_kernel<Types, T, SecondMoment::none>,
           blocks, T::threads, Ring<Types, T>::shared_bytes, geometry, copies,
           array_of<typename Types::Value>("conv_gather", x), array_of<typename Types::Gradient>("conv_gather", grad_y),
           merge);
  });
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                   const WeightSums& to) {
  NSGD_CHECK(!x.factor, "conv_gather takes an array, not the operands of relu(x factor + term)");
  if (is_half(x.x.type)) return launch_kernel<StoredHalves, T>(queue, s, kind, x.x, grad_y, to);
  if (is_half(grad_y.type)) return launch_kernel<GradientHalves, T>(queue, s, kind, x.x, grad_y, to);
  launch_kernel<StoredFloats, T>(queue, s, kind, x.x, grad_y, to);
}

template <class T>
constexpr ConvKernel kernel_of = {&grid_of<T>, &launch_tiling<T>};

// Layers with few channels or patch elements use small tiles, with several groups, that is samples, per block.
const ConvKernel* choose(const ConvShape& s) {
  const bool few_elements = s.weights() / s.out_channels <= 32;
  if (s.out_channels > 32) return few_elements ? &kernel_of<Tiling<2, 1, 4>> : &kernel_of<Tiling<2, 4, 1>>;
  return few_elements ? &kernel_of<Tiling<1, 1, 4>> : &kernel_of<Tiling<1, 4, 2>>;
}

}  // namespace

const ConvKernel* conv_gather(const ConvShape& shape, Precision precision) {
  return precision == Precision::fp32 ? nullptr : choose(shape);
}

int conv_gather_bytes(int64_t channels, ConstValues array) {
  const auto places =
      reinterpret_cast<uintptr_t>(array.address) | static_cast<uint64_t>(channels) * size_of(array.type);
  return places % 16 == 0 ? 16 : places % 8 == 0 ? 8 : places % 4 == 0 ? 4 : 0;
}

}  // namespace noisysgd::kernels::cuda
