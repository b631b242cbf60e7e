// The weight gradient of 3x3 convolutions on tensor cores, and optionally a second sum: its exact per-sample second
// moment, the spatial one, or its sum with a sign for each sample and output channel.
// A group of warps computes a tile of the weights, [k_tile output channels, 9 taps, c_tile input channels], from one
// sample at a time: G_n is a matrix product of grad_y^T and shifted x over the output positions. The products' depth
// runs over image rows, so that a step to the right slides a window of three columns of x: every loaded column serves
// three taps, and no patch is stored. Meanwhile the two operands of the next items are copied to shared memory. Groups
// of a block, and blocks along the grid's second dimension, process different samples and write partial sums.
#pragma once

#include <algorithm>
#include <type_traits>

#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/copy_or_zero.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/shared_pitch.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>
#include <noisysgd/kernels/cuda/weight_fragments.h>

namespace noisysgd::kernels::cuda::window {

constexpr int taps = filter_taps;
constexpr int64_t blocks_at_work = 132;      // fixed, so that sums have one order on every device
constexpr size_t shared_limit = 227 * 1024;  // of the GPUs that the tilings are tuned for: compute capability 9.0

template <class Format_, int size_, int stride_, int m_tiles_, int warps_k_, int warps_c_, int groups_, int band_,
          int stages_, int samples_per_item_ = 1>
struct Tiling {
  using Format = Format_;
  using Register = typename Format::Register;
  static constexpr int size = size_, stride = stride_, in_size = size * stride;  // of the square images
  static constexpr int m_tiles = m_tiles_, warps_k = warps_k_, warps_c = warps_c_, groups = groups_;
  static constexpr int k_tile = warps_k * m_tiles * 16, c_tile = warps_c * 8;
  static constexpr int group_threads = warps_k * warps_c * warp_lanes, threads = groups * group_threads;
  // An item of the pipeline: a band of output rows of one sample, or several samples of small images.
  static constexpr int band = band_, bands = size / band, samples_per_item = samples_per_item_;
  // The positions of one matrix product: step_rows rows, and step_columns columns at distance x_steps.
  static constexpr int depth = Format::depth, step_rows = std::min(band, depth), step_columns = depth / step_rows;
  static constexpr int x_steps = size / step_columns, row_steps = band / step_rows;
  // Whether the sums of step_rows rows are added up outside the tensor cores, because a whole sample's sums would lose
  // digits in them.
  static constexpr bool by_rows = std::is_same_v<Format, SplitTf32> && bands * row_steps > 1;
  static constexpr int x_rows = (band - 1) * stride + 3, x_columns = (size - 1) * stride + 3;  // with the halo

  // Operands in shared memory, one sample's part of an item: x [x_rows,x_columns,c_tile], grad_y [band,size,k_tile].
  // For bf16, copied floats are converted in shared memory and read by ldmatrix, 8 positions of 8 channels at a time.
  // Otherwise floats are read 4 positions at a time and rounded in registers.
  static constexpr bool converted = std::is_same_v<Format, Bf16>;
  using Element = std::conditional_t<converted, uint16_t, float>;
  static constexpr int runs = converted ? 8 : 4, alignment = converted ? 8 : 4;
  static constexpr Pitch x_pitch =
      conflict_free_pitch(x_columns, c_tile, runs, step_rows, stride, x_steps* stride, alignment);
  static constexpr Pitch grad_pitch = conflict_free_pitch(size, k_tile, runs, step_rows, 1, x_steps, alignment);
  static constexpr int x_elements = x_rows * x_pitch.row;
  static constexpr int sample_elements = (x_elements + band * grad_pitch.row + 31) / 32 * 32;
  static constexpr int item_elements = sample_elements * samples_per_item;

  // Copies arrive in the operands themselves or, before a conversion, chunk after chunk in buffers that only the
  // copying thread reads.
  static constexpr int x_chunks = x_rows * x_columns * c_tile / chunk, grad_chunks = band * size * k_tile / chunk;
  static constexpr int stages = stages_, ahead = converted ? stages : stages - 1;  // ahead: items being copied
  static constexpr int stage_floats = converted ? (x_chunks + grad_chunks) * chunk * samples_per_item : item_elements;
  static constexpr int operand_buffers = converted ? 2 : 0;
  static constexpr size_t group_bytes =
      sizeof(float) * stages * stage_floats + sizeof(Element) * operand_buffers * item_elements;
  static constexpr size_t shared_bytes = groups * group_bytes;
  static_assert(size % band == 0 && band % step_rows == 0 && shared_bytes <= shared_limit && ahead > 0);
  static_assert(samples_per_item == 1 || bands == 1);
};

// The part of a group: the first channels of its tile, and its samples first, first + step, ...
struct Share {
  int32_t k0, c0, first, step;

  // Sample s of an item; it may be past the last sample.
  template <class T>
  __device__ int32_t sample(int item, int s) const {
    return first + (item / T::bands * T::samples_per_item + s) * step;
  }
};

// Calls body(i, row, column, channel) for every chunk i of the thread in a tile [rows,columns,channels].
template <class T, int columns, int channels, class Body>
__device__ void visit_chunks(int thread, int chunks, const Body& body) {
  constexpr int per_column = channels / chunk;
#pragma unroll 1
  for (int i = thread; i < chunks; i += T::group_threads)
    body(i, i / per_column / columns, i / per_column % columns, i % per_column * chunk);
}

// Starts the copies of item `item` of the group. Elements outside the image or past the last sample become zero.
template <class T>
__device__ void load_item(const FilterProblem& p, const Share& share, int item, int thread, float* stage) {
  const int band0 = item % T::bands * T::band;
  for (int s = 0; s < T::samples_per_item; ++s, stage += T::stage_floats / T::samples_per_item) {
    const int32_t n = share.sample<T>(item, s);
    const bool exists = n < p.batch;
    const float* x = p.x + int64_t{exists ? n : 0} * T::in_size * T::in_size * p.in_channels + share.c0;
    const float* grad = p.grad_y + int64_t{exists ? n : 0} * T::size * T::size * p.out_channels + share.k0;
    visit_chunks<T, T::x_columns, T::c_tile>(thread, T::x_chunks, [&](int i, int row, int column, int c) {
      const int h = band0 * T::stride - 1 + row, w = column - 1;
      const bool inside = exists && h >= 0 && h < T::in_size && w >= 0 && w < T::in_size;
      copy_or_zero(stage + (T::converted ? i * chunk : row * T::x_pitch.row + column * T::x_pitch.position + c),
                   x + (inside ? (h * T::in_size + w) * p.in_channels + c : 0), inside);
    });
    visit_chunks<T, T::size, T::k_tile>(thread, T::grad_chunks, [&](int i, int row, int column, int k) {
      copy_or_zero(
          stage + (T::converted ? (T::x_chunks + i) * chunk
                                : T::x_elements + row * T::grad_pitch.row + column * T::grad_pitch.position + k),
          grad + ((band0 + row) * T::size + column) * p.out_channels + k, exists);
    });
  }
}

// Rounds the values that this thread copied and writes them to the operands of the products.
template <class T>
__device__ void convert_item(int thread, const float* stage, uint16_t* operands) {
  const auto convert = [](const float* from, uint16_t* to) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    *reinterpret_cast<uint2*>(to) = make_uint2(ptx::round_to_bf16x2(v.x, v.y), ptx::round_to_bf16x2(v.z, v.w));
  };
  for (int s = 0; s < T::samples_per_item; ++s, stage += T::stage_floats / T::samples_per_item) {
    visit_chunks<T, T::x_columns, T::c_tile>(thread, T::x_chunks, [&](int i, int row, int column, int c) {
      convert(stage + i * chunk, operands + row * T::x_pitch.row + column * T::x_pitch.position + c);
    });
    visit_chunks<T, T::size, T::k_tile>(thread, T::grad_chunks, [&](int i, int row, int column, int k) {
      convert(stage + (T::x_chunks + i) * chunk,
              operands + T::x_elements + row * T::grad_pitch.row + column * T::grad_pitch.position + k);
    });
    operands += T::sample_elements;
  }
}

// This lane's offsets in the operands: `grad` and `x` of its first depth index, `grad_next` and `x_next` from there to
// the second half of the depth. With bf16 ldmatrix loads both halves at once: grad_next is unused, and x_next leads to
// the third row of taps.
struct LanePlace {
  int grad, grad_next, x, x_next;
};

template <class T>
__device__ LanePlace lane_place(int lane, int warp_k, int warp_c) {
  const auto grad = [](int k) {
    return T::x_elements + k % T::step_rows * T::grad_pitch.row +
           k / T::step_rows * T::x_steps * T::grad_pitch.position;
  };
  const auto x = [](int k) {
    return k % T::step_rows * T::stride * T::x_pitch.row +
           k / T::step_rows * T::x_steps * T::stride * T::x_pitch.position;
  };
  const int grad0 = warp_k * T::m_tiles * 16, x0 = warp_c * 8;
  if constexpr (T::converted) {  // the matrix row whose address this lane passes to ldmatrix
    const int matrix = lane / 8, r = lane % 8;
    return {grad0 + matrix % 2 * 8 + grad(matrix / 2 * 8 + r), 0,
            x0 + x(matrix % 2 * 8 + r) + matrix / 2 * T::x_pitch.row, 2 * T::x_pitch.row - matrix / 2 * T::x_pitch.row};
  } else {
    const int low = lane % 4, high = low + 4, group = lane / 4;
    return {grad0 + grad(low) + group, grad(high) - grad(low), x0 + x(low) + group, x(high) - x(low)};
  }
}

template <class T>
using Fragments = FilterFragments<T::m_tiles>;

// beside: the second sum, that is the second moment or, with with_signs, the signed sums. sample: the sums of one
// sample, if they are squared or signed, or if long sums would lose digits.
template <class T, SecondMoment kind, bool with_signs>
struct Sums {
  static constexpr bool by_sample =
      kind == SecondMoment::exact || with_signs || std::is_same_v<typename T::Format, SplitTf32>;
  Fragments<T> gradient{}, beside{}, sample{};

  // Adds the complete sample to the sums and resets it. signs: the sample's signs from this lane's first output channel
  // on; null for a sample past the last one, whose sums are 0.
  __device__ void fold(const float* signs) {
    if constexpr (by_sample) {
#pragma unroll
      for (int m = 0; m < T::m_tiles; ++m) {
        float sign[2] = {};
        if constexpr (with_signs)
          if (signs)
            for (int half = 0; half < 2; ++half) sign[half] = signs[m * 16 + half * 8];
#pragma unroll
        for (int tap = 0; tap < taps; ++tap)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float g = sample[m][tap][i];
            gradient[m][tap][i] += g;
            if constexpr (kind == SecondMoment::exact) beside[m][tap][i] += g * g;
            if constexpr (with_signs) beside[m][tap][i] += sign[i / 2] * g;
            sample[m][tap][i] = 0;
          }
      }
    }
  }
};

// Three columns of x for the three rows of taps, as right operands: [tap row][column modulo 3][depth half].
template <class T>
using Window = typename T::Register[3][3][2];

template <class T>
__device__ void load_column(const typename T::Element* x, const LanePlace& place, int slot, Window<T>& window,
                            Window<T>* squares) {
  if constexpr (T::converted) {
    uint32_t four[4], two[2];
    ptx::load_matrices_transposed<4>(four, x);
    ptx::load_matrices_transposed<2>(two, x + place.x_next);
    for (int half = 0; half < 2; ++half) {
      window[0][slot][half] = four[half];
      window[1][slot][half] = four[2 + half];
      window[2][slot][half] = two[half];
    }
    if (squares)
      for (int row = 0; row < 3; ++row)
        for (int half = 0; half < 2; ++half) (*squares)[row][slot][half] = ptx::square_bf16x2(window[row][slot][half]);
  } else {
    for (int row = 0; row < 3; ++row)
      for (int half = 0; half < 2; ++half) {
        const float value = x[row * T::x_pitch.row + half * place.x_next];
        window[row][slot][half] = T::Format::round({value});
        if (squares) (*squares)[row][slot][half] = T::Format::round({value * value});
      }
  }
}

template <class T>
__device__ void load_left(const typename T::Element* grad, const LanePlace& place, typename T::Register (&left)[4],
                          typename T::Register (*squares)[4]) {
  if constexpr (T::converted) {
    ptx::load_matrices_transposed<4>(left, grad);
    if (squares)
      for (int i = 0; i < 4; ++i) (*squares)[i] = ptx::square_bf16x2(left[i]);
  } else {
    for (int i = 0; i < 4; ++i) {
      const float value = grad[i % 2 * 8 + i / 2 * place.grad_next];
      left[i] = T::Format::round({value});
      if (squares) (*squares)[i] = T::Format::round({value * value});
    }
  }
}

// Adds the products over `step_rows` rows of one band to the sums.
template <class T, SecondMoment kind, bool with_signs>
__device__ void multiply_rows(const typename T::Element* x, const typename T::Element* grad, const LanePlace& place,
                              Sums<T, kind, with_signs>& sums) {
  constexpr bool spatial = kind == SecondMoment::spatial;
  Window<T> window, window_squares;
  Fragments<T> rows_sums{};
  const auto load = [&](int column) {
    load_column<T>(x + column * T::x_pitch.position, place, column % 3, window, spatial ? &window_squares : nullptr);
  };
#pragma unroll
  for (int step = 0; step < T::x_steps; ++step) {
    if (step == 0) load(0);
    if (step == 0 || T::stride == 2) load(step * T::stride + 1);
    load(step * T::stride + 2);
#pragma unroll
    for (int m = 0; m < T::m_tiles; ++m) {
      typename T::Register left[4], left_squares[4];
      load_left<T>(grad + step * T::grad_pitch.position + m * 16, place, left, spatial ? &left_squares : nullptr);
      auto& gradient = T::by_rows                             ? rows_sums[m]
                       : Sums<T, kind, with_signs>::by_sample ? sums.sample[m]
                                                              : sums.gradient[m];
#pragma unroll
      for (int tap = 0; tap < taps; ++tap) {
        const int slot = (step * T::stride + tap % 3) % 3;
        T::Format::multiply(gradient[tap], left, window[tap / 3][slot]);
        if constexpr (spatial) T::Format::multiply(sums.beside[m][tap], left_squares, window_squares[tap / 3][slot]);
      }
    }
  }
  if constexpr (T::by_rows) move_sums(rows_sums, sums.sample);
}

namespace {

// Grid: tiles of the weights, shares of the samples.
template <class T, SecondMoment kind, bool with_signs>
__global__ void __launch_bounds__(T::threads, 1) conv_window_kernel(FilterProblem p) {
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes,
            thread = static_cast<int>(threadIdx.x) % T::group_threads;
  const int group = static_cast<int>(threadIdx.x) / T::group_threads, warp = thread / warp_lanes;
  const int warp_k = warp % T::warps_k, warp_c = warp / T::warps_k;
  const auto tile = static_cast<int32_t>(blockIdx.x), c_tiles = p.in_channels / T::c_tile;
  const auto shares = static_cast<int32_t>(gridDim.y) * T::groups;
  const Share share{tile / c_tiles * T::k_tile, tile % c_tiles * T::c_tile,
                    static_cast<int32_t>(blockIdx.y) * T::groups + group, shares};
  const int32_t k = share.k0 + warp_k * T::m_tiles * 16, c = share.c0 + warp_c * 8;  // the warp's first channels
  const LanePlace place = lane_place<T>(lane, warp_k, warp_c);
  float* const stages = reinterpret_cast<float*>(shared + group * T::group_bytes);
  auto* const operands =
      reinterpret_cast<typename T::Element*>(stages + (T::converted ? T::stages * T::stage_floats : 0));
  // All groups process the same number of items, so that one barrier serves the block; the last one may be empty.
  const int samples = (p.batch + shares - 1) / shares;
  const int items = (samples + T::samples_per_item - 1) / T::samples_per_item * T::bands;

  Sums<T, kind, with_signs> sums;
  for (int item = 0; item < T::ahead; ++item) {
    if (item < items) load_item<T>(p, share, item, thread, stages + item * T::stage_floats);
    __pipeline_commit();
  }
  int stage = 0, next = T::ahead % T::stages, buffer = 0;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(T::ahead - 1);
    if constexpr (T::converted) {
      buffer = item % 2;
      convert_item<T>(thread, stages + stage * T::stage_floats, operands + buffer * T::item_elements);
    } else {
      buffer = stage;
    }
    __syncthreads();  // the item has arrived, and no thread still reads the previous one
    if (item + T::ahead < items) load_item<T>(p, share, item + T::ahead, thread, stages + next * T::stage_floats);
    __pipeline_commit();
#pragma unroll 1
    for (int s = 0; s < T::samples_per_item; ++s) {
      const auto* from = operands + buffer * T::item_elements + s * T::sample_elements;
#pragma unroll 1
      for (int row = 0; row < T::row_steps; ++row)
        multiply_rows<T, kind, with_signs>(from + place.x + row * T::step_rows * T::stride * T::x_pitch.row,
                                           from + place.grad + row * T::step_rows * T::grad_pitch.row, place, sums);
      if ((item + 1) % T::bands == 0) {
        const int32_t n = share.sample<T>(item, s);
        sums.fold(with_signs && n < p.batch ? p.signs + int64_t{n} * p.out_channels + k + lane / 4 : nullptr);
      }
    }
    stage = stage + 1 == T::stages ? 0 : stage + 1;
    next = next + 1 == T::stages ? 0 : next + 1;
  }

  const int64_t weights = int64_t{p.out_channels} * taps * p.in_channels;
  constexpr int stored = kind == SecondMoment::none && !with_signs ? 1 : 2;
  float* const to = p.partial + int64_t{share.first} * stored * weights;
  store_fragments(p, k, c, sums.gradient, to);
  if constexpr (stored == 2) store_fragments(p, k, c, sums.beside, to + weights);
}

}  // namespace

template <class T>
int64_t blocks_per_tile(const ConvShape& s) {
  const int64_t tiles = (s.out_channels / T::k_tile) * (s.in_channels / T::c_tile);
  const int64_t most = divide_up(s.batch, T::groups * T::samples_per_item);
  return std::clamp<int64_t>(blocks_at_work / tiles, 1, most);
}

template <class T>
int64_t shares(const ConvShape& s) {
  return blocks_per_tile<T>(s) * T::groups;
}

template <class T>
dim3 grid_of(const ConvShape& s) {
  return dim3(static_cast<unsigned>((s.out_channels / T::k_tile) * (s.in_channels / T::c_tile)),
              static_cast<unsigned>(blocks_per_tile<T>(s)));
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, const float* x, const float* grad_y,
                   float* partial) {
  auto kernel = conv_window_kernel<T, SecondMoment::none, false>;
  if (kind == SecondMoment::exact) kernel = conv_window_kernel<T, SecondMoment::exact, false>;
  if constexpr (!std::is_same_v<typename T::Format, SplitTf32>)
    if (kind == SecondMoment::spatial) kernel = conv_window_kernel<T, SecondMoment::spatial, false>;
  launch(queue, kernel, grid_of<T>(s), T::threads, T::shared_bytes, filter_problem(s, x, grad_y, partial));
}

template <class T>
void launch_signed(Queue& queue, const ConvShape& s, const float* x, const float* grad_y, const float* signs,
                   float* partial) {
  launch(queue, conv_window_kernel<T, SecondMoment::none, true>, grid_of<T>(s), T::threads, T::shared_bytes,
         filter_problem(s, x, grad_y, partial, signs));
}

template <class T>
inline constexpr ConvKernel kernel_of = {&shares<T>, &launch_tiling<T>, &launch_signed<T>};

template <class T>
bool takes(const ConvShape& s, size_t shared_memory) {
  return s.out_height() == T::size && s.height == T::in_size && s.stride_height == T::stride &&
         s.out_channels % T::k_tile == 0 && s.in_channels % T::c_tile == 0 && T::shared_bytes <= shared_memory;
}

// The first tiling that supports a shape of 3x3 convolutions with padding 1, or null.
template <class... Tilings>
const ConvKernel* choose(const ConvShape& s, size_t shared_memory) {
  const ConvKernel* chosen = nullptr;
  ((chosen = !chosen && takes<Tilings>(s, shared_memory) ? &kernel_of<Tilings> : chosen), ...);
  return chosen;
}

// conv_window_tf32.cu, conv_window_bf16.cu, conv_window_split.cu
const ConvKernel* choose_tf32(const ConvShape& shape, size_t shared_memory);
const ConvKernel* choose_bf16(const ConvShape& shape, size_t shared_memory);
const ConvKernel* choose_split(const ConvShape& shape, size_t shared_memory);

}  // namespace noisysgd::kernels::cuda::window
