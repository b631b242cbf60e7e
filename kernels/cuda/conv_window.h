// The weight gradient of 3x3 convolutions on tensor cores, and optionally a second sum: its exact per-sample second
// moment, the spatial one, or its sum with a sign for each sample and output channel.
// A group of warps computes a tile of the weights, [k_tile output channels, 9 taps, c_tile input channels], from one
// sample at a time: G_n is a matrix product of grad_y^T and shifted x over the output positions. The products' depth
// runs over image rows, so that a step to the right slides a window of three columns of x: every loaded column serves
// three taps, and no patch is stored. Meanwhile the two operands of the next items are copied to shared memory. Groups
// of a block, and blocks along the grid's second dimension, process different samples.
#pragma once

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

  // The operands in shared memory, one sample's part of an item: x [x_rows,x_columns,c_tile], grad_y
  // [band,size,k_tile]. With Bf16 they are read by ldmatrix, 8 positions of 8 channels at a time; otherwise floats are
  // read 4 positions at a time and rounded in registers. The arrays of Bf16 are stored in 16 bits, x in fp16, which is
  // rounded in shared memory.
  static constexpr bool halves = std::is_same_v<Format, Bf16>;
  using Types = std::conditional_t<halves, StoredHalves, StoredFloats>;
  using Element = std::conditional_t<halves, uint16_t, float>;
  static constexpr int chunk = 16 / sizeof(Element);  // elements of the largest asynchronous copy
  static constexpr int runs = halves ? 8 : 4, alignment = chunk;
  static constexpr Pitch x_pitch =
      conflict_free_pitch(x_columns, c_tile, runs, step_rows, stride, x_steps* stride, alignment);
  static constexpr Pitch grad_pitch = conflict_free_pitch(size, k_tile, runs, step_rows, 1, x_steps, alignment);
  static constexpr int x_chunks = x_rows * x_columns * c_tile / chunk, grad_chunks = band * size * k_tile / chunk;

  // Copies arrive in the operands themselves, but for x of fp16: chunk after chunk in buffers that only the copying
  // thread reads. That x has two places, one being written while the other is multiplied.
  static constexpr int stages = stages_, ahead = halves ? stages : stages - 1;  // ahead: items being copied
  static constexpr int raw_elements = halves ? x_chunks * chunk * samples_per_item : 0;
  static constexpr int x_elements = x_rows * x_pitch.row, grad_elements = band * grad_pitch.row;
  static constexpr int sample_elements = (x_elements + grad_elements + 31) / 32 * 32;
  static constexpr int x_places = halves ? 2 : stages, grad_places = ahead + 1;
  static constexpr size_t group_elements =
      halves ? stages * raw_elements + samples_per_item * (x_places * x_elements + grad_places * grad_elements)
             : samples_per_item * stages * sample_elements;
  static constexpr size_t group_bytes = (sizeof(Element) * group_elements + 127) / 128 * 128;
  static constexpr size_t merge_bytes = sizeof(float) * group_floats(groups, k_tile* taps, c_tile);
  static constexpr size_t shared_bytes = std::max(groups * group_bytes, merge_bytes);
  static_assert(size % band == 0 && band % step_rows == 0 && shared_bytes + last_block_bytes <= shared_limit &&
                ahead > 0);
  static_assert(samples_per_item == 1 || bands == 1);
};

// The shared memory of a group. Of fp32, x and grad_y of a sample are neighbours; otherwise each has its own places.
template <class T>
struct GroupMemory {
  using Element = typename T::Element;
  Element* begin;

  __device__ Element* raw_x(int stage, int sample) const {
    return begin + stage * T::raw_elements + sample * (T::raw_elements / T::samples_per_item);
  }
  __device__ Element* x(int place, int sample) const {
    const int index = place * T::samples_per_item + sample;
    return begin + T::stages * T::raw_elements + index * (T::halves ? T::x_elements : T::sample_elements);
  }
  __device__ Element* grad(int place, int sample) const {
    if constexpr (!T::halves) return x(place, sample) + T::x_elements;
    return x(T::x_places, 0) + (place * T::samples_per_item + sample) * T::grad_elements;
  }
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
  constexpr int per_column = channels / T::chunk;
#pragma unroll 1
  for (int i = thread; i < chunks; i += T::group_threads)
    body(i, i / per_column / columns, i / per_column % columns, i % per_column * T::chunk);
}

// The place in the image of an element of an item's x, which has a halo of one.
struct Pixel {
  int row, column;
  bool inside;
};

template <class T>
__device__ Pixel pixel_of(int item, int row, int column) {
  const int h = item % T::bands * T::band * T::stride - 1 + row, w = column - 1;
  return {h, w, h >= 0 && h < T::in_size && w >= 0 && w < T::in_size};
}

// Starts the copies of item `item` of the group. Elements outside the image or past the last sample become zero.
template <class T>
__device__ void load_item(const FilterProblem& p, const Share& share, int item, int thread, const GroupMemory<T>& to,
                          int stage, int grad_place) {
  const auto* const all_x = static_cast<const typename T::Types::Value*>(p.x);
  const auto* const all_grad = static_cast<const typename T::Types::Gradient*>(p.grad_y);
  const int band0 = item % T::bands * T::band;
  for (int s = 0; s < T::samples_per_item; ++s) {
    const int32_t n = share.sample<T>(item, s);
    const bool exists = n < p.batch;
    const auto* x = all_x + int64_t{exists ? n : 0} * T::in_size * T::in_size * p.in_channels + share.c0;
    const auto* grad = all_grad + int64_t{exists ? n : 0} * T::size * T::size * p.out_channels + share.k0;
    visit_chunks<T, T::x_columns, T::c_tile>(thread, T::x_chunks, [&](int i, int row, int column, int c) {
      const Pixel pixel = pixel_of<T>(item, row, column);
      const bool inside = exists && pixel.inside;
      copy_16_bytes_or_zero(T::halves ? to.raw_x(stage, s) + i * T::chunk
                                      : to.x(stage, s) + row * T::x_pitch.row + column * T::x_pitch.position + c,
                            x + (inside ? (pixel.row * T::in_size + pixel.column) * p.in_channels + c : 0), inside);
    });
    visit_chunks<T, T::size, T::k_tile>(thread, T::grad_chunks, [&](int, int row, int column, int k) {
      copy_16_bytes_or_zero(to.grad(grad_place, s) + row * T::grad_pitch.row + column * T::grad_pitch.position + k,
                            grad + ((band0 + row) * T::size + column) * p.out_channels + k, exists);
    });
  }
}

// relu(x factor + term) of a chunk, rounded to fp16.
template <int n>
__device__ Elements<Half, n> map_chunk(const Elements<Half, n>& x, const FloatVector<n>& factor,
                                       const FloatVector<n>& term) {
  Elements<Half, n> h;
  for (int i = 0; i < n; i += 2)
    h.stored[i / 2] = ptx::relu_to_f16x2(fmaf(x[i], factor[i], term[i]), fmaf(x[i + 1], factor[i + 1], term[i + 1]));
  return h;
}

// Makes the input of the convolution from the fp16 of item `item` that this thread copied, rounds it to bf16 and writes
// it to the operands of the products. What lies outside the image or past the last sample stays 0 under the map.
template <class T>
__device__ void convert_x(const FilterProblem& p, const Share& share, int item, int thread,
                          const GroupMemory<T>& memory, int stage, int place) {
  constexpr int position_chunks = T::c_tile / T::chunk;
  static_assert(T::group_threads % position_chunks == 0);  // so the chunks of a thread have the same channels
  for (int s = 0; s < T::samples_per_item; ++s) {
    const auto* const from = reinterpret_cast<const Half*>(memory.raw_x(stage, s));
    auto* const to = reinterpret_cast<BFloat16*>(memory.x(place, s));
    const auto convert = [&](const auto& made) {
      visit_chunks<T, T::x_columns, T::c_tile>(thread, T::x_chunks, [&](int i, int row, int column, int c) {
        const Elements<Half, T::chunk> elements = made(load_elements<T::chunk>(from + i * T::chunk), row, column);
        FloatVector<T::chunk> values;
        for (int e = 0; e < T::chunk; ++e) values[e] = elements[e];
        store_elements(to + row * T::x_pitch.row + column * T::x_pitch.position + c, values);
      });
    };
    int32_t n = share.sample<T>(item, s);
    if (!p.factor || n >= p.batch) {
      convert([](const auto& x, int, int) { return x; });
    } else {
      const int32_t constant = p.by_group.reduce(n) * p.in_channels + share.c0 + thread % position_chunks * T::chunk;
      const auto factor = load_values<T::chunk>(p.factor + constant), term = load_values<T::chunk>(p.term + constant);
      convert([&](const auto& x, int row, int column) {
        return pixel_of<T>(item, row, column).inside ? map_chunk(x, factor, term) : x;
      });
    }
  }
}

// This lane's offsets in the operands: `grad` and `x` of its first depth index, `grad_next` and `x_next` from there to
// the second half of the depth. With Bf16 ldmatrix loads both halves at once: grad_next is unused, and x_next leads to
// the third row of taps.
struct LanePlace {
  int grad, grad_next, x, x_next;
};

template <class T>
__device__ LanePlace lane_place(int lane, int warp_k, int warp_c) {
  const auto grad = [](int k) {
    return k % T::step_rows * T::grad_pitch.row + k / T::step_rows * T::x_steps * T::grad_pitch.position;
  };
  const auto x = [](int k) {
    return k % T::step_rows * T::stride * T::x_pitch.row +
           k / T::step_rows * T::x_steps * T::stride * T::x_pitch.position;
  };
  const int grad0 = warp_k * T::m_tiles * 16, x0 = warp_c * 8;
  if constexpr (T::halves) {  // the matrix row whose address this lane passes to ldmatrix
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
  if constexpr (T::halves) {
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
  if constexpr (T::halves) {
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
__global__ void __launch_bounds__(T::threads, 1)
    conv_window_kernel(FilterProblem p, const __grid_constant__ ShareMerge merge) {
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes,
            thread = static_cast<int>(threadIdx.x) % T::group_threads;
  const int group = static_cast<int>(threadIdx.x) / T::group_threads, warp = thread / warp_lanes;
  const int warp_k = warp % T::warps_k, warp_c = warp / T::warps_k;
  const auto tile = static_cast<int32_t>(blockIdx.x), c_tiles = p.in_channels / T::c_tile;
  const auto shares = static_cast<int32_t>(gridDim.y) * T::groups;
  const Share share{tile / c_tiles * T::k_tile, tile % c_tiles * T::c_tile,
                    static_cast<int32_t>(blockIdx.y) * T::groups + group, shares};
  const int32_t k = share.k0 + warp_k * T::m_tiles * 16;  // the warp's first output channel
  const LanePlace place = lane_place<T>(lane, warp_k, warp_c);
  const GroupMemory<T> memory{reinterpret_cast<typename T::Element*>(shared + group * T::group_bytes)};
  // All groups process the same number of items, so that one barrier serves the block; the last one may be empty.
  const int samples = (p.batch + shares - 1) / shares;
  const int items = (samples + T::samples_per_item - 1) / T::samples_per_item * T::bands;

  Sums<T, kind, with_signs> sums;
  for (int item = 0; item < T::ahead; ++item) {
    if (item < items) load_item<T>(p, share, item, thread, memory, item, item);
    __pipeline_commit();
  }
  int stage = 0, next = T::ahead % T::stages, grad_place = 0, next_grad = T::ahead;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(T::ahead - 1);
    const int x_place = T::halves ? item % 2 : stage;
    if constexpr (T::halves) convert_x<T>(p, share, item, thread, memory, stage, x_place);
    __syncthreads();  // the item has arrived, and no thread still reads the previous one
    if (item + T::ahead < items) load_item<T>(p, share, item + T::ahead, thread, memory, next, next_grad);
    __pipeline_commit();
#pragma unroll 1
    for (int s = 0; s < T::samples_per_item; ++s) {
      const auto *x = memory.x(x_place, s) + place.x, *grad = memory.grad(grad_place, s) + place.grad;
#pragma unroll 1
      for (int row = 0; row < T::row_steps; ++row)
        multiply_rows<T, kind, with_signs>(x + row * T::step_rows * T::stride * T::x_pitch.row,
                                           grad + row * T::step_rows * T::grad_pitch.row, place, sums);
      if ((item + 1) % T::bands == 0) {
        const int32_t n = share.sample<T>(item, s);
        sums.fold(with_signs && n < p.batch ? p.signs + int64_t{n} * p.out_channels + k + lane / 4 : nullptr);
      }
    }
    stage = stage + 1 == T::stages ? 0 : stage + 1;
    next = next + 1 == T::stages ? 0 : next + 1;
    grad_place = grad_place + 1 == T::grad_places ? 0 : grad_place + 1;
    next_grad = next_grad + 1 == T::grad_places ? 0 : next_grad + 1;
  }

  const auto part = static_cast<int32_t>(blockIdx.y);
  const auto store = [&](int32_t sum, const Fragments<T>& fragments) {
    store_part<T::groups, T::k_tile * taps, T::c_tile>(
        reinterpret_cast<float*>(shared), group, merge.part(part, tile, sum),
        [&](float* to, int pitch) { store_fragments(warp_k * T::m_tiles * 16, warp_c * 8, fragments, to, pitch); });
  };
  store(0, sums.gradient);
  if constexpr (kind != SecondMoment::none || with_signs) store(1, sums.beside);
  merge_shares(merge, tile, part);
}

}  // namespace

template <class T>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles = filter_tiles(s, T::k_tile, T::c_tile);
  const int64_t most = divide_up(s.batch, T::groups * T::samples_per_item);
  return {tiles, std::clamp<int64_t>(blocks_at_work / tiles.count(), 1, most)};
}

template <class T>
FilterProblem window_problem(const ConvShape& s, const ConvOperand& x, ConstValues grad_y, const float* signs) {
  FilterProblem problem = filter_problem(s, array_of<typename T::Types::Value>("conv_window", x.x),
                                         array_of<typename T::Types::Gradient>("conv_window", grad_y), signs);
  NSGD_CHECK(T::halves || !x.factor, "conv_window: only of fp16 is an input made on the way");
  if (x.factor) {
    problem.factor = x.factor;
    problem.term = x.term;
    problem.by_group = FastDivide(x.group);
  }
  return problem;
}

template <class T>
void launch_kernel(Queue& queue, void (*kernel)(FilterProblem, ShareMerge), const ConvShape& s, const ConvOperand& x,
                   ConstValues grad_y, const float* signs, const WeightSums& to) {
  const ShareGrid grid = grid_of<T>(s);
  const FilterProblem problem = window_problem<T>(s, x, grad_y, signs);
  launch_merged(queue, grid, to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue, kernel, blocks, T::threads, T::shared_bytes, problem, merge);
  });
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                   const WeightSums& to) {
  auto kernel = conv_window_kernel<T, SecondMoment::none, false>;
  if (kind == SecondMoment::exact) kernel = conv_window_kernel<T, SecondMoment::exact, false>;
  if constexpr (!std::is_same_v<typename T::Format, SplitTf32>)
    if (kind == SecondMoment::spatial) kernel = conv_window_kernel<T, SecondMoment::spatial, false>;
  launch_kernel<T>(queue, kernel, s, x, grad_y, nullptr, to);
}

template <class T>
void launch_signed(Queue& queue, const ConvShape& s, const ConvOperand& x, ConstValues grad_y, const float* signs,
                   const WeightSums& to) {
  launch_kernel<T>(queue, conv_window_kernel<T, SecondMoment::none, true>, s, x, grad_y, signs, to);
}

template <class T>
inline constexpr ConvKernel kernel_of = {&grid_of<T>, &launch_tiling<T>, &launch_signed<T>};

template <class T>
bool takes(const ConvShape& s, size_t shared_memory) {
  return s.out_height() == T::size && s.height == T::in_size && s.stride_height == T::stride &&
         s.out_channels % T::k_tile == 0 && s.in_channels % T::c_tile == 0 &&
         T::shared_bytes + last_block_bytes <= shared_memory;
}

// The first tiling that supports a shape of 3x3 convolutions with padding 1, or null.
template <class... Tilings>
const ConvKernel* choose(const ConvShape& s, size_t shared_memory) {
  const ConvKernel* chosen = nullptr;
  ((chosen = !chosen && takes<Tilings>(s, shared_memory) ? &kernel_of<Tilings> : chosen), ...);
  return chosen;
}

// conv_window_tf32.cu, conv_window_halves.cu, conv_window_split.cu
const ConvKernel* choose_tf32(const ConvShape& shape, size_t shared_memory);
const ConvKernel* choose_halves(const ConvShape& shape, size_t shared_memory);
const ConvKernel* choose_split(const ConvShape& shape, size_t shared_memory);

}  // namespace noisysgd::kernels::cuda::window
