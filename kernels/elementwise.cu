#include <noisysgd/kernels/elementwise.h>

#include <numeric>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/map_elements.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

struct Constant {
  float value;
  __device__ float operator()() const { return value; }
};

struct Relu {
  __device__ float operator()(float x) const { return x < 0 ? 0.0f : x; }  // NaN stays NaN
};

struct ReluGradient {
  __device__ float operator()(float y, float grad_y) const { return y > 0 ? grad_y : 0.0f; }
};

struct Sum {
  __device__ float operator()(float y, float x) const { return y + x; }
};

struct AddedSquare {
  __device__ float operator()(float y, float x) const { return multiply_then_add(x, x, y); }
};

struct Product {
  Number<float> factor;
  __device__ float operator()(float x) const { return factor.read() * x; }
};

struct Dropout {
  float probability, scale;
  __device__ float operator()(float x, uint32_t word) const {
    return uniform_from_word(word) >= probability ? x * scale : 0.0f;
  }
};

// A thread handles the elements of one Philox block; part of the first and the last block may lie outside the array.
// Whole blocks are loaded and stored in one access with vector = 4, which needs an offset of whole blocks.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    dropout_kernel(int64_t n, Dropout op, RandomStream stream, uint64_t offset, const T* x, T* y) {
  const auto skipped = vector == 4 ? 0 : static_cast<int64_t>(offset % 4);
  grid_stride((n + skipped + 3) / 4, [&](int64_t block) {
    const auto words = random_words(stream, static_cast<uint32_t>(offset / 4 + static_cast<uint64_t>(block)));
    if (vector == 4 && 4 * block + 4 <= n) {
      const auto values = load_elements<4>(x + 4 * block);
      FloatVector<4> kept;
      for (int lane = 0; lane < 4; ++lane) kept[lane] = op(values[lane], words[lane]);
      store_elements(y + 4 * block, kept);
      return;
    }
    for (int64_t lane = 0; lane < 4; ++lane) {
      const int64_t i = 4 * block + lane - skipped;
      if (i >= 0 && i < n) y[i] = as_stored<T>(op(as_float(x[i]), words[lane]));
    }
  });
}

constexpr int tile = 32, tile_rows = block_threads / tile;

// to[n,j,i] = from[n,i,j], by tiles in shared memory: reads and writes are both contiguous.
template <class From, class To>
__global__ void __launch_bounds__(block_threads)
    transpose_kernel(int64_t batch, int64_t rows, int64_t columns, const From* from, To* to) {
  GPU_SHARED(float, staged, [tile][tile + 1]);
  const int64_t row_tiles = divide_up(rows, tile), column_tiles = divide_up(columns, tile);
  const int64_t lane = threadIdx.x % tile, first = threadIdx.x / tile;
  for (int64_t index = blockIdx.x; index < batch * row_tiles * column_tiles; index += gridDim.x) {
    const int64_t n = index / (row_tiles * column_tiles), place = index % (row_tiles * column_tiles);
    const int64_t i0 = place / column_tiles * tile, j0 = place % column_tiles * tile;
    const From* source = from + n * rows * columns;
    To* target = to + n * rows * columns;
    for (int64_t k = first; k < tile; k += tile_rows)
      if (i0 + k < rows && j0 + lane < columns) staged[k][lane] = as_float(source[(i0 + k) * columns + j0 + lane]);
    __syncthreads();
    for (int64_t k = first; k < tile; k += tile_rows)
      if (j0 + k < columns && i0 + lane < rows) target[(j0 + k) * rows + i0 + lane] = as_stored<To>(staged[lane][k]);
    __syncthreads();
  }
}

template <class From, class To>
void transpose_each(Queue& queue, int64_t batch, int64_t rows, int64_t columns, const From* from, To* to) {
  const int64_t tiles = batch * divide_up(rows, tile) * divide_up(columns, tile);
  if (tiles == 0) return;
  launch(queue, transpose_kernel<From, To>, static_cast<unsigned>(std::min(tiles, busy_blocks)), block_threads, 0,
         batch, rows, columns, from, to);
}

// Geometry of the option-A shortcut in vectors of neighbouring channels; those of a sample are numbered in 32 bits.
struct Shortcut {
  int32_t height, width, in_channels, stride, out_height, out_width, out_channels;
  FastDivide by_in_channels, by_width, by_out_channels, by_out_width, by_stride;

  Shortcut(const PadShape& shape, int vector)
      : height(static_cast<int32_t>(shape.height)),
        width(static_cast<int32_t>(shape.width)),
        in_channels(static_cast<int32_t>(shape.in_channels / vector)),
        stride(static_cast<int32_t>(shape.stride)),
        out_height(static_cast<int32_t>(divide_up(shape.height, shape.stride))),
        out_width(static_cast<int32_t>(divide_up(shape.width, shape.stride))),
        out_channels(static_cast<int32_t>(shape.out_channels / vector)),
        by_in_channels(shape.in_channels / vector),
        by_width(shape.width),
        by_out_channels(shape.out_channels / vector),
        by_out_width(out_width),
        by_stride(shape.stride) {
    NSGD_CHECK(shape.height * shape.width * shape.out_channels <= INT32_MAX,
               "pad_channels: a {}x{} image of {} channels is too large", shape.height, shape.width,
               shape.out_channels);
  }
  __host__ __device__ int32_t in_size() const { return height * width * in_channels; }
  __host__ __device__ int32_t out_size() const { return out_height * out_width * out_channels; }
};

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    pad_channels_forward_kernel(int64_t batch, Shortcut s, const T* x, T* y) {
  sample_stride(batch, s.out_size(), [&](int64_t n, int32_t i) {
    int32_t channel = i;
    int32_t column = s.by_out_channels.reduce(channel);
    const int32_t row = s.by_out_width.reduce(column);
    const int32_t source = (row * s.stride * s.width + column * s.stride) * s.in_channels + channel;
    Vector<T, vector> values{};
    if (channel < s.in_channels) values = load_vector<vector>(x + (n * s.in_size() + source) * vector);
    store_vector(y + (n * s.out_size() + i) * vector, values);
  });
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    pad_channels_backward_kernel(int64_t batch, Shortcut s, const T* grad_y, T* grad_x) {
  sample_stride(batch, s.in_size(), [&](int64_t n, int32_t i) {
    int32_t channel = i;
    int32_t column_rest = s.by_in_channels.reduce(channel);
    int32_t row_rest = s.by_width.reduce(column_rest);
    const int32_t column = s.by_stride.reduce(column_rest), row = s.by_stride.reduce(row_rest);
    const int32_t source = (row * s.out_width + column) * s.out_channels + channel;
    Vector<T, vector> values{};
    if (row_rest == 0 && column_rest == 0) values = load_vector<vector>(grad_y + (n * s.out_size() + source) * vector);
    store_vector(grad_x + (n * s.in_size() + i) * vector, values);
  });
}

template <class T, class Kernel>
void launch_shortcut(Queue& queue, Kernel kernel, int64_t batch, int32_t size, const Shortcut& shortcut, const T* from,
                     T* to) {
  const unsigned blocks = grid_size(size);
  launch(queue, kernel, dim3(blocks, sample_grid(batch, blocks)), block_threads, 0, batch, shortcut, from, to);
}

void check(const PadShape& s) {
  NSGD_CHECK(s.stride > 0 && s.out_channels >= s.in_channels,
             "pad_channels: stride {}, channels {} -> {}: the stride must be positive and channels must not decrease",
             s.stride, s.in_channels, s.out_channels);
}

// Calls body(array of bits, the same of `to`, elements at a time): elements are copied, whatever they are.
template <class Body>
void with_bits(const char* op, const PadShape& shape, ConstValues from, Values to, const Body& body) {
  NSGD_CHECK(from.type == to.type, "{}: arrays of {} and {}", op, name_of(from.type), name_of(to.type));
  with_element(op, from.type, [&](auto element) {
    using Bits = std::conditional_t<sizeof(element) == 2, uint16_t, float>;
    const auto* const bits = static_cast<const Bits*>(from.address);
    auto* const copies = static_cast<Bits*>(to.address);
    constexpr int width = vector_width<Bits>;
    const bool whole = std::gcd(shape.in_channels, shape.out_channels) % width == 0;
    with_width<width>(whole && aligned_elements<width>(bits, copies), [&](auto vector) { body(bits, copies, vector); });
  });
}

}  // namespace

void fill(Queue& queue, int64_t n, float value, float* x) { map_elements(queue, n, Constant{value}, x); }

void relu_forward(Queue& queue, int64_t n, ConstValues x, Values y) {
  with_stored_types("relu_forward", x.type, [&]<class Types>(Types) {
    using T = typename Types::Value;
    map_elements(queue, n, Relu{}, array_of<T>("relu_forward", y), array_of<T>("relu_forward", x));
  });
}

void relu_backward(Queue& queue, int64_t n, ConstValues y, ConstValues grad_y, Values grad_x) {
  constexpr const char* op = "relu_backward";
  with_stored_types(op, grad_y.type, [&]<class Types>(Types) {
    using Gradient = typename Types::Gradient;
    map_elements(queue, n, ReluGradient{}, array_of<Gradient>(op, grad_x), array_of<typename Types::Value>(op, y),
                 array_of<Gradient>(op, grad_y));
  });
}

void add(Queue& queue, int64_t n, ConstValues x, Values y) {
  with_element("add", y.type, [&](auto element) {
    using T = decltype(element);
    T* const to = array_of<T>("add", y);
    map_elements(queue, n, Sum{}, to, static_cast<const T*>(to), array_of<T>("add", x));
  });
}

void add_square(Queue& queue, int64_t n, const float* x, float* y) {
  map_elements(queue, n, AddedSquare{}, y, static_cast<const float*>(y), x);
}

void scale(Queue& queue, int64_t n, Number<float> factor, const float* x, float* y) {
  map_elements(queue, n, Product{factor}, y, x);
}

void dropout(Queue& queue, int64_t n, float probability, const RandomStream& stream, uint64_t offset, ConstValues x,
             Values y) {
  NSGD_CHECK(probability >= 0 && probability < 1, "dropout: probability {} is not in [0, 1)", probability);
  if (n == 0) return;
  with_element("dropout", x.type, [&](auto element) {
    using T = decltype(element);
    const T* const from = array_of<T>("dropout", x);
    T* const to = array_of<T>("dropout", y);
    with_width<4>(offset % 4 == 0 && aligned_elements<4>(from, to), [&](auto vector) {
      launch(queue, dropout_kernel<vector, T>, grid_size(n / 4 + 2), block_threads, 0, n,
             Dropout{probability, 1.0f / (1.0f - probability)}, stream, offset, from, to);
    });
  });
}

void nhwc_to_nchw(Queue& queue, int64_t batch, int64_t positions, int64_t channels, ConstValues x, float* y) {
  with_stored_types("nhwc_to_nchw", x.type, [&]<class Types>(Types) {
    transpose_each(queue, batch, positions, channels, array_of<typename Types::Value>("nhwc_to_nchw", x), y);
  });
}

void nchw_to_nhwc(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* x, Values y) {
  with_stored_types("nchw_to_nhwc", y.type, [&]<class Types>(Types) {
    transpose_each(queue, batch, channels, positions, x, array_of<typename Types::Gradient>("nchw_to_nhwc", y));
  });
}

void pad_channels_forward(Queue& queue, const PadShape& shape, ConstValues x, Values y) {
  check(shape);
  if (shape.batch * shape.height * shape.width * shape.out_channels == 0) return;
  with_bits("pad_channels_forward", shape, x, y, [&]<class T>(const T* from, T* to, auto vector) {
    const Shortcut shortcut(shape, vector);
    launch_shortcut(queue, pad_channels_forward_kernel<vector, T>, shape.batch, shortcut.out_size(), shortcut, from,
                    to);
  });
}

void pad_channels_backward(Queue& queue, const PadShape& shape, ConstValues grad_y, Values grad_x) {
  check(shape);
  if (shape.batch * shape.height * shape.width * shape.in_channels == 0) return;
  with_bits("pad_channels_backward", shape, grad_y, grad_x, [&]<class T>(const T* from, T* to, auto vector) {
    const Shortcut shortcut(shape, vector);
    launch_shortcut(queue, pad_channels_backward_kernel<vector, T>, shape.batch, shortcut.in_size(), shortcut, from,
                    to);
  });
}

}  // namespace noisysgd::kernels::cuda
