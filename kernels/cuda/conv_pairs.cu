// The weight gradient and second moments of 3x3 convolutions on images of 2x2, stride 1, padding 1. The square of a sum
// over so few positions is cheaper when it is expanded into its terms:
//   sum_n (sum_t g_nt a_n,t+d)^2 = sum_t<=u w sum_n (g_nt g_nu) (a_n,t+d a_n,u+d),  w = 1 for t = u and else 2,
// These are matrix products over the samples: per weight one term at the corner taps d, three at the edges, ten in the
// centre. Pairs are formed in fp32 when operands are read from shared memory, where they are as they are stored. The
// terms may cancel: if the exact value is about 0, the sum may be negative. The spatial form consists of the terms with
// t = u alone.
#include <algorithm>
#include <type_traits>

#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/copy_or_zero.h>
#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/merge_shares.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/shared_pitch.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>
#include <noisysgd/kernels/cuda/weight_fragments.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int side = 2, positions = 4, pairs = positions * (positions + 1) / 2, taps = filter_taps;
constexpr int64_t blocks_at_work = 132;

// The input position under tap `tap` of output position t, or -1 outside the image.
__host__ __device__ constexpr int input_of(int t, int tap) {
  const int row = t / side + tap / 3 - 1, column = t % side + tap % 3 - 1;
  return row >= 0 && row < side && column >= 0 && column < side ? row * side + column : -1;
}
// The index of the pair t <= u.
__host__ __device__ constexpr int pair_of(int t, int u) { return t * (2 * positions - t + 1) / 2 + u - t; }

// For x and grad_y of the element types Types_.
template <class Types_, class Format_, int m_tiles_, int warps_k_, int warps_c_>
struct Tiling {
  using Value = typename Types_::Value;
  using Gradient = typename Types_::Gradient;
  using Format = Format_;
  using Register = typename Format::Register;
  static constexpr int m_tiles = m_tiles_, warps_k = warps_k_, warps_c = warps_c_;
  static constexpr int k_tile = warps_k * m_tiles * 16, c_tile = warps_c * 8, threads = warps_k * warps_c * warp_lanes;
  // A stage: x [item_samples,x_pitch] and grad_y [item_samples,grad_pitch].
  static constexpr int item_samples = 16, stages = 3;
  static constexpr int x_pitch = positions * c_tile + 8, grad_pitch = positions * k_tile + 8;
  static constexpr int x_bytes = item_samples * x_pitch * sizeof(Value);
  static constexpr int stage_bytes = x_bytes + item_samples * grad_pitch * sizeof(Gradient);
  static constexpr size_t shared_bytes = size_t{stages} * stage_bytes;
  static_assert(Format::values == 1 && conflict_free_rows(x_pitch, sizeof(Value)) &&
                conflict_free_rows(grad_pitch, sizeof(Gradient)) && shared_bytes <= least_shared_memory);
};

// Starts the copies of samples first .. first + 15; samples from `end` on become zero.
template <class T>
__device__ void load_item(const FilterProblem& p, int32_t k0, int32_t c0, int64_t first, int64_t end,
                          unsigned char* stage) {
  const auto copy = [&]<class Element>(const Element* from, int32_t channels, int tile, int pitch, unsigned char* to) {
    constexpr int chunk = vector_width<Element>;
    const int per_position = tile / chunk;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < T::item_samples * positions * per_position; i += T::threads) {
      const int c = i % per_position * chunk, t = i / per_position % positions, s = i / per_position / positions;
      const bool exists = first + s < end;
      copy_16_bytes_or_zero(reinterpret_cast<Element*>(to) + s * pitch + t * tile + c,
                            from + (exists ? ((first + s) * positions + t) * channels + c : 0), exists);
    }
  };
  copy(static_cast<const typename T::Value*>(p.x) + c0, p.in_channels, T::c_tile, T::x_pitch, stage);
  copy(static_cast<const typename T::Gradient*>(p.grad_y) + k0, p.out_channels, T::k_tile, T::grad_pitch,
       stage + T::x_bytes);
}

template <class T>
using Fragments = FilterFragments<T::m_tiles>;

// Adds the products over Format::depth samples, whose operands begin at x and grad.
template <class T, SecondMoment kind>
__device__ void multiply_samples(const typename T::Value* x, const typename T::Gradient* grad, Fragments<T>& gradient,
                                 Fragments<T>& square) {
  using Format = typename T::Format;
  constexpr bool exact = kind == SecondMoment::exact, squares = kind != SecondMoment::none;
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, group = lane / 4, place = lane % 4;
  typename T::Register x_single[positions][2], x_pairs[pairs][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float values[positions][Format::values];
    for (int t = 0; t < positions; ++t) {
      for (int v = 0; v < Format::values; ++v)
        values[t][v] = as_float(x[Format::depth_index(place, half, v) * T::x_pitch + t * T::c_tile + group]);
      x_single[t][half] = operand_of<Format, typename T::Value>(values[t]);
    }
    for (int t = 0; t < positions; ++t)
      for (int u = t; u < positions; ++u) {
        float products[Format::values];
        for (int v = 0; v < Format::values; ++v) products[v] = values[t][v] * values[u][v];
        if (squares && (exact || t == u)) x_pairs[pair_of(t, u)][half] = Format::round(products);
      }
  }
#pragma unroll
  for (int m = 0; m < T::m_tiles; ++m) {
    float values[positions][4][Format::values];
    for (int t = 0; t < positions; ++t)
      for (int i = 0; i < 4; ++i)
        for (int v = 0; v < Format::values; ++v)
          values[t][i][v] = as_float(
              grad[Format::depth_index(place, i / 2, v) * T::grad_pitch + t * T::k_tile + m * 16 + group + i % 2 * 8]);
#pragma unroll
    for (int t = 0; t < positions; ++t) {
      typename T::Register left[4];
      for (int i = 0; i < 4; ++i) left[i] = operand_of<Format, typename T::Gradient>(values[t][i]);
#pragma unroll
      for (int tap = 0; tap < taps; ++tap)
        if (input_of(t, tap) >= 0) Format::multiply(gradient[m][tap], left, x_single[input_of(t, tap)]);
      if constexpr (squares) {
#pragma unroll
        for (int u = t; u < (exact ? positions : t + 1); ++u) {
          for (int i = 0; i < 4; ++i) {
            float products[Format::values];
            for (int v = 0; v < Format::values; ++v)
              products[v] = (t == u ? 1.0f : 2.0f) * values[t][i][v] * values[u][i][v];
            left[i] = Format::round(products);
          }
#pragma unroll
          for (int tap = 0; tap < taps; ++tap)
            if (input_of(t, tap) >= 0 && input_of(u, tap) >= 0)
              Format::multiply(square[m][tap], left, x_pairs[pair_of(input_of(t, tap), input_of(u, tap))]);
        }
      }
    }
  }
}

// Grid: tiles of the weights, shares of the samples (consecutive ones).
template <class T, SecondMoment kind>
__global__ void __launch_bounds__(T::threads, 1)
    conv_pairs_kernel(FilterProblem p, const __grid_constant__ ShareMerge merge) {
  GPU_DYNAMIC_SHARED(unsigned char, stages);
  constexpr bool split = std::is_same_v<typename T::Format, SplitTf32>;
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, warp_k = warp % T::warps_k, warp_c = warp / T::warps_k;
  const auto tile = static_cast<int32_t>(blockIdx.x), c_tiles = p.in_channels / T::c_tile;
  const int32_t k0 = tile / c_tiles * T::k_tile, c0 = tile % c_tiles * T::c_tile;
  const int64_t first = int64_t{p.batch} * blockIdx.y / gridDim.y,
                end = int64_t{p.batch} * (blockIdx.y + 1) / gridDim.y;
  const auto items = static_cast<int>((end - first + T::item_samples - 1) / T::item_samples);
  const auto load = [&](int item) {
    if (item < items)
      load_item<T>(p, k0, c0, first + int64_t{item} * T::item_samples, end, stages + item % T::stages * T::stage_bytes);
    __pipeline_commit();
  };

  Fragments<T> gradient{}, square{}, item_gradient{}, item_square{};
  for (int item = 0; item < T::stages - 1; ++item) load(item);
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(T::stages - 2);
    __syncthreads();  // the item has arrived, and no thread still reads the stage that is filled next
    load(item + T::stages - 1);
    const unsigned char* const stage = stages + item % T::stages * T::stage_bytes;
    const auto* const x = reinterpret_cast<const typename T::Value*>(stage) + warp_c * 8;
    const auto* const grad =
        reinterpret_cast<const typename T::Gradient*>(stage + T::x_bytes) + warp_k * T::m_tiles * 16;
#pragma unroll 1
    for (int s = 0; s < T::item_samples; s += T::Format::depth)
      multiply_samples<T, kind>(x + s * T::x_pitch, grad + s * T::grad_pitch, split ? item_gradient : gradient,
                                split ? item_square : square);
    if constexpr (split) {
      move_sums(item_gradient, gradient);
      if constexpr (kind != SecondMoment::none) move_sums(item_square, square);
    }
  }

  const auto share = static_cast<int32_t>(blockIdx.y);
  const auto store = [&](int32_t sum, const Fragments<T>& fragments) {
    store_fragments(warp_k * T::m_tiles * 16, warp_c * 8, fragments, merge.part(share, tile, sum), T::c_tile);
  };
  store(0, gradient);
  if constexpr (kind != SecondMoment::none) store(1, square);
  merge_shares(merge, tile, share);
}

template <class T>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles = filter_tiles(s, T::k_tile, T::c_tile);
  return {tiles, std::clamp<int64_t>(blocks_at_work / tiles.count(), 1, divide_up(s.batch, T::item_samples))};
}

template <class T>
void launch_kernel(Queue& queue, const ConvShape& s, SecondMoment kind, ConstValues x, ConstValues grad_y,
                   const WeightSums& to) {
  const FilterProblem problem = filter_problem(s, array_of<typename T::Value>("conv_pairs", x),
                                               array_of<typename T::Gradient>("conv_pairs", grad_y));
  launch_merged(queue, grid_of<T>(s), to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue,
           kind == SecondMoment::exact     ? conv_pairs_kernel<T, SecondMoment::exact>
           : kind == SecondMoment::spatial ? conv_pairs_kernel<T, SecondMoment::spatial>
                                           : conv_pairs_kernel<T, SecondMoment::none>,
           blocks, T::threads, T::shared_bytes, problem, merge);
  });
}

using Split = Tiling<StoredFloats, SplitTf32, 1, 2, 4>;
template <class Types>
using Rounded = Tiling<Types, Tf32, 2, 2, 4>;

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                   const WeightSums& to) {
  NSGD_CHECK(!x.factor, "conv_pairs takes an array, not the operands of relu(x factor + term)");
  if constexpr (std::is_same_v<T, Rounded<StoredFloats>>)
    if (is_half(x.x.type)) return launch_kernel<Rounded<StoredHalves>>(queue, s, kind, x.x, grad_y, to);
  launch_kernel<T>(queue, s, kind, x.x, grad_y, to);
}

template <class T>
const ConvKernel* kernel_of(const ConvShape& s) {
  static constexpr ConvKernel kernel{&grid_of<T>, &launch_tiling<T>};
  return s.out_channels % T::k_tile == 0 && s.in_channels % T::c_tile == 0 ? &kernel : nullptr;
}

}  // namespace

const ConvKernel* conv_pairs(const ConvShape& s, Precision precision) {
  constexpr int64_t most = INT32_MAX / 16;  // samples and channels are counted in 32 bits
  if (s.height != side || s.width != side || s.kernel_height != 3 || s.kernel_width != 3 || s.padding_height != 1 ||
      s.padding_width != 1 || s.stride_height != 1 || s.stride_width != 1 || s.batch > most ||
      s.in_channels * s.out_channels > most)
    return nullptr;
  return precision == Precision::fp32 ? kernel_of<Split>(s) : kernel_of<Rounded<StoredFloats>>(s);
}

}  // namespace noisysgd::kernels::cuda
