// A group of warps takes one sample at a time and owns a tile of the weights, [k_tile output channels, 9 taps, c_tile
// input channels]: G_n is a matrix product of grad_y^T and shifted x over the output positions. The products' depth
// runs over image rows, so that a step to the right slides a window of three columns of x: every column that is loaded
// feeds three taps, and no patch is stored. Two operands of the next items are on their way to shared memory meanwhile.
// Groups of a block, and blocks along the grid's second dimension, take different samples and write partial sums.
#include "kernels/cuda/conv_tensor.h"

#include <array>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/reduce.h"

namespace noisysgd::kernels::cuda {
namespace {

constexpr int taps = 9, depth = 8;       // of one matrix product m16n8k8
constexpr int chunk = 4;                 // floats of one asynchronous copy
constexpr int64_t blocks_at_work = 132;  // fixed, so that sums have one order on every device

constexpr int padded_pitch(int floats) {  // lanes of a fragment then read 32 different banks
  while (floats % 32 != 8) floats += chunk;
  return floats;
}

template <int size_, int stride_, int m_tiles_, int warps_k_, int warps_c_, int groups_, int band_, int stages_,
          int samples_per_item_ = 1>
struct Tiling {
  static constexpr int size = size_, stride = stride_, in_size = size * stride;  // of the square images
  static constexpr int m_tiles = m_tiles_, warps_k = warps_k_, warps_c = warps_c_, groups = groups_;
  static constexpr int k_tile = warps_k * m_tiles * 16, c_tile = warps_c * 8;
  static constexpr int group_threads = warps_k * warps_c * warp_lanes, threads = groups * group_threads;
  // An item of the pipeline: a band of output rows of one sample, or several samples of small images.
  static constexpr int band = band_, bands = size / band, stages = stages_, samples_per_item = samples_per_item_;
  // The positions of one matrix product: step_rows rows, and columns that lie x_steps apart.
  static constexpr int step_rows = band < depth ? band : depth, step_columns = depth / step_rows;
  static constexpr int x_steps = size / step_columns, row_steps = band / step_rows;
  // One sample's part of an item in shared memory: [x_rows,x_columns,c_tile] with its halo, [band,size,k_tile].
  static constexpr int x_rows = (band - 1) * stride + 3, x_columns = (size - 1) * stride + 3;
  static constexpr int x_pitch = padded_pitch(x_columns * c_tile), grad_pitch = padded_pitch(size * k_tile);
  static constexpr int x_floats = x_rows * x_pitch, sample_floats = (x_floats + band * grad_pitch + 31) / 32 * 32;
  static constexpr int stage_floats = sample_floats * samples_per_item;
  static constexpr size_t shared_bytes = sizeof(float) * groups * stages * stage_floats;
  static_assert(size % band == 0 && band % step_rows == 0 && shared_bytes <= 227 * 1024);
  static_assert(samples_per_item == 1 || bands == 1);
};

struct Problem {
  const float *x, *grad_y;
  float* partial;
  int32_t batch, in_channels, out_channels;
};

// A thread block's part: where its tile begins and which samples its group takes: first, first + step, ...
struct Share {
  int32_t k0, c0, first, step;
};

__device__ void copy_or_zero(float* to, const float* from, bool copy) {
  __pipeline_memcpy_async(to, from, chunk * sizeof(float), copy ? 0 : chunk * sizeof(float));
}

// Starts the copies of item `item` of the group; what lies outside the image or behind the last sample becomes zero.
template <class T>
__device__ void load_item(const Problem& p, const Share& share, int item, int thread, float* stage) {
  constexpr int x_chunks = T::c_tile / chunk, grad_chunks = T::k_tile / chunk;
  const int band0 = item % T::bands * T::band;
  for (int s = 0; s < T::samples_per_item; ++s, stage += T::sample_floats) {
    const int32_t n = share.first + (item / T::bands * T::samples_per_item + s) * share.step;
    const bool exists = n < p.batch;
    const float* x = p.x + int64_t{exists ? n : 0} * T::in_size * T::in_size * p.in_channels + share.c0;
    const float* grad = p.grad_y + int64_t{exists ? n : 0} * T::size * T::size * p.out_channels + share.k0;
#pragma unroll 1
    for (int i = thread; i < T::x_rows * T::x_columns * x_chunks; i += T::group_threads) {
      const int c = i % x_chunks * chunk, column = i / x_chunks % T::x_columns, row = i / x_chunks / T::x_columns;
      const int h = band0 * T::stride - 1 + row, w = column - 1;
      const bool inside = exists && h >= 0 && h < T::in_size && w >= 0 && w < T::in_size;
      copy_or_zero(stage + row * T::x_pitch + column * T::c_tile + c,
                   x + (inside ? (h * T::in_size + w) * p.in_channels + c : 0), inside);
    }
#pragma unroll 1
    for (int i = thread; i < T::band * T::size * grad_chunks; i += T::group_threads) {
      const int k = i % grad_chunks * chunk, column = i / grad_chunks % T::size, row = i / grad_chunks / T::size;
      copy_or_zero(stage + T::x_floats + row * T::grad_pitch + column * T::k_tile + k,
                   grad + ((band0 + row) * T::size + column) * p.out_channels + k, exists);
    }
  }
}

// A warp's weights: 16 m_tiles output channels, 9 taps, 8 input channels, spread over lanes as ptx.h says.
template <class T>
using Fragments = float[T::m_tiles][taps][4];

// This lane's places in the operands, in floats: of depth index lane % 4, and how far further the index 4 higher lies.
struct LanePlace {
  int grad, grad_next, x, x_next;
};

template <class T>
__device__ LanePlace lane_place(int lane, int warp_k, int warp_c) {
  const int low = lane % 4, high = low + 4, group = lane / 4;
  const auto grad = [](int k) { return k % T::step_rows * T::grad_pitch + k / T::step_rows * T::x_steps * T::k_tile; };
  const auto x = [](int k) {
    return k % T::step_rows * T::stride * T::x_pitch + k / T::step_rows * T::x_steps * T::stride * T::c_tile;
  };
  return {T::x_floats + grad(low) + warp_k * T::m_tiles * 16 + group, grad(high) - grad(low),
          x(low) + warp_c * 8 + group, x(high) - x(low)};
}

// sample += the products over `step_rows` rows of one band
template <class T>
__device__ void multiply_rows(const float* x, const float* grad, const LanePlace& place, Fragments<T>& sample) {
  uint32_t window[3][3][2];  // tap row, column of x modulo 3, depth half
  const auto load_column = [&](int column) {
    for (int row = 0; row < 3; ++row) {
      const float* from = x + row * T::x_pitch + column * T::c_tile;
      window[row][column % 3][0] = ptx::round_to_tf32(from[0]);
      window[row][column % 3][1] = ptx::round_to_tf32(from[place.x_next]);
    }
  };
#pragma unroll
  for (int step = 0; step < T::x_steps; ++step) {
    if (step == 0) load_column(0);
    if (step == 0 || T::stride == 2) load_column(step * T::stride + 1);
    load_column(step * T::stride + 2);
#pragma unroll
    for (int m = 0; m < T::m_tiles; ++m) {
      const float* from = grad + step * T::k_tile + m * 16;
      const uint32_t left[4] = {ptx::round_to_tf32(from[0]), ptx::round_to_tf32(from[8]),
                                ptx::round_to_tf32(from[place.grad_next]),
                                ptx::round_to_tf32(from[place.grad_next + 8])};
#pragma unroll
      for (int tap = 0; tap < taps; ++tap)
        ptx::mma_m16n8k8_tf32(sample[m][tap], left, window[tap / 3][(step * T::stride + tap % 3) % 3]);
    }
  }
}

// The sample is complete: it joins the sums and begins anew.
template <class T>
__device__ void fold(Fragments<T>& sample, Fragments<T>& gradient, Fragments<T>& square) {
#pragma unroll
  for (int m = 0; m < T::m_tiles; ++m)
#pragma unroll
    for (int tap = 0; tap < taps; ++tap)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float g = sample[m][tap][i];
        gradient[m][tap][i] += g;
        square[m][tap][i] += g * g;
        sample[m][tap][i] = 0;
      }
}

// Writes a warp's sums to target [K,3,3,C].
template <class T>
__device__ void store_fragments(const Problem& p, int32_t k, int32_t c, int lane, const Fragments<T>& sums,
                                float* target) {
#pragma unroll
  for (int m = 0; m < T::m_tiles; ++m)
#pragma unroll
    for (int tap = 0; tap < taps; ++tap)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = k + m * 16 + half * 8 + lane / 4;
        *reinterpret_cast<float2*>(target + (row * taps + tap) * p.in_channels + c + lane % 4 * 2) = {
            sums[m][tap][2 * half], sums[m][tap][2 * half + 1]};
      }
}

// Grid: tiles of the weights, shares of the samples.
template <class T, int moments>
__global__ void __launch_bounds__(T::threads, 1) conv_tensor_kernel(Problem p) {
  GPU_DYNAMIC_SHARED(float, stages);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes,
            thread = static_cast<int>(threadIdx.x) % T::group_threads;
  const int group = static_cast<int>(threadIdx.x) / T::group_threads, warp = thread / warp_lanes;
  const int warp_k = warp % T::warps_k, warp_c = warp / T::warps_k;
  const auto tile = static_cast<int32_t>(blockIdx.x), c_tiles = p.in_channels / T::c_tile;
  const auto shares = static_cast<int32_t>(gridDim.y) * T::groups;
  const Share share{tile / c_tiles * T::k_tile, tile % c_tiles * T::c_tile,
                    static_cast<int32_t>(blockIdx.y) * T::groups + group, shares};
  const LanePlace place = lane_place<T>(lane, warp_k, warp_c);
  float* const group_stages = stages + group * T::stages * T::stage_floats;
  // All groups take the same number of items, so that one barrier serves the block; the last may be empty.
  const int samples = (p.batch + shares - 1) / shares;
  const int items = (samples + T::samples_per_item - 1) / T::samples_per_item * T::bands;

  Fragments<T> sample{}, gradient{}, square{};
  for (int item = 0; item < T::stages - 1; ++item) {
    if (item < items) load_item<T>(p, share, item, thread, group_stages + item * T::stage_floats);
    __pipeline_commit();
  }
  int stage = 0, free_stage = T::stages - 1;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(T::stages - 2);
    __syncthreads();  // the item is here for all, and all are done with the stage that is filled next
    if (item + T::stages - 1 < items)
      load_item<T>(p, share, item + T::stages - 1, thread, group_stages + free_stage * T::stage_floats);
    __pipeline_commit();
#pragma unroll 1
    for (int s = 0; s < T::samples_per_item; ++s) {
      const float* from = group_stages + stage * T::stage_floats + s * T::sample_floats;
#pragma unroll 1
      for (int row = 0; row < T::row_steps; ++row)
        multiply_rows<T>(from + place.x + row * T::step_rows * T::stride * T::x_pitch,
                         from + place.grad + row * T::step_rows * T::grad_pitch, place, sample);
      if constexpr (moments == 2)
        if ((item + 1) % T::bands == 0) fold<T>(sample, gradient, square);
    }
    stage = stage + 1 == T::stages ? 0 : stage + 1;
    free_stage = free_stage + 1 == T::stages ? 0 : free_stage + 1;
  }

  const int64_t weights = int64_t{p.out_channels} * taps * p.in_channels;
  float* const to = p.partial + int64_t{share.first} * moments * weights;
  const int32_t k = share.k0 + warp_k * T::m_tiles * 16, c = share.c0 + warp_c * 8;
  store_fragments<T>(p, k, c, lane, moments == 1 ? sample : gradient, to);
  if (moments == 2) store_fragments<T>(p, k, c, lane, square, to + weights);
}

template <class T>
int64_t blocks_per_tile(const ConvShape& s) {
  const int64_t tiles = (s.out_channels / T::k_tile) * (s.in_channels / T::c_tile);
  const int64_t most = divide_up(s.batch, T::groups * T::samples_per_item);
  return std::clamp<int64_t>(blocks_at_work / tiles, 1, most);
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, int moments, const float* x, const float* grad_y, float* partial) {
  const Problem problem{x,
                        grad_y,
                        partial,
                        static_cast<int32_t>(s.batch),
                        static_cast<int32_t>(s.in_channels),
                        static_cast<int32_t>(s.out_channels)};
  const dim3 grid(static_cast<unsigned>((s.out_channels / T::k_tile) * (s.in_channels / T::c_tile)),
                  static_cast<unsigned>(blocks_per_tile<T>(s)));
  launch(queue, moments == 2 ? conv_tensor_kernel<T, 2> : conv_tensor_kernel<T, 1>, grid, T::threads, T::shared_bytes,
         problem);
}

struct Choice {
  int size, stride, k_tile, c_tile, groups;
  int64_t (*blocks)(const ConvShape& shape);
  void (*launch)(Queue&, const ConvShape&, int moments, const float* x, const float* grad_y, float* partial);

  bool takes(const ConvShape& s) const {
    return s.out_height() == size && s.height == size * stride && s.stride_height == stride &&
           s.out_channels % k_tile == 0 && s.in_channels % c_tile == 0;
  }
};

template <class T>
constexpr Choice choice_of = {T::size,   T::stride,           T::k_tile,        T::c_tile,
                              T::groups, &blocks_per_tile<T>, &launch_tiling<T>};

// The first that takes a shape: larger tiles read shared memory less often.
//                                             size stride m k c groups band stages
constexpr std::array choices = {
    choice_of<Tiling<32, 1, 1, 2, 4, 1, 4, 2>>,   choice_of<Tiling<32, 1, 1, 1, 2, 5, 4, 2>>,
    choice_of<Tiling<16, 1, 1, 2, 4, 1, 8, 3>>,   choice_of<Tiling<8, 1, 1, 2, 4, 1, 8, 4>>,
    choice_of<Tiling<4, 1, 2, 2, 4, 1, 4, 3, 4>>, choice_of<Tiling<16, 2, 1, 2, 2, 3, 4, 2>>,
    choice_of<Tiling<8, 2, 1, 2, 2, 3, 8, 2>>,    choice_of<Tiling<4, 2, 1, 2, 2, 3, 4, 2>>,
};

const Choice* choose(const ConvShape& s, const float* x, const float* grad_y) {
  const bool whole_chunks = reinterpret_cast<uintptr_t>(x) % (chunk * sizeof(float)) == 0 &&
                            reinterpret_cast<uintptr_t>(grad_y) % (chunk * sizeof(float)) == 0;
  const bool square = s.height == s.width && s.stride_height == s.stride_width && s.kernel_height == 3 &&
                      s.kernel_width == 3 && s.padding_height == 1 && s.padding_width == 1;
  constexpr int64_t most = INT32_MAX / 16;  // samples and channels are counted in 32 bits
  if (!whole_chunks || !square || s.batch > most || s.in_channels * s.out_channels > most) return nullptr;
  for (const Choice& choice : choices)
    if (choice.takes(s)) return &choice;
  return nullptr;
}

}  // namespace

int64_t conv_tensor_shares(const ConvShape& shape, const float* x, const float* grad_y) {
  const Choice* choice = choose(shape, x, grad_y);
  return choice ? choice->blocks(shape) * choice->groups : 0;
}

void conv_tensor_weight_gradient(Queue& queue, const ConvShape& shape, int moments, const float* x, const float* grad_y,
                                 float* partial) {
  choose(shape, x, grad_y)->launch(queue, shape, moments, x, grad_y, partial);
}

}  // namespace noisysgd::kernels::cuda
