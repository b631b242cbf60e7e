#include <noisysgd/kernels/pool.h>

#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

// The NHWC geometry of one sample in vectors of neighbouring channels, which are numbered in 32 bits. `channels` and
// sizes count vectors.
struct Sample {
  int32_t height, width, channels, kernel, stride, padding, out_height, out_width;
  FastDivide by_channels, by_width, by_out_width, by_stride;

  explicit Sample(const PoolShape& s, int vector = 1)
      : height(static_cast<int32_t>(s.height)),
        width(static_cast<int32_t>(s.width)),
        channels(static_cast<int32_t>(s.channels / vector)),
        kernel(static_cast<int32_t>(s.kernel)),
        stride(static_cast<int32_t>(s.stride)),
        padding(static_cast<int32_t>(s.padding)),
        out_height(static_cast<int32_t>(s.out_height())),
        out_width(static_cast<int32_t>(s.out_width())),
        by_channels(s.channels / vector),
        by_width(s.width),
        by_out_width(s.out_width()),
        by_stride(s.stride) {
    NSGD_CHECK(s.height * s.width * s.channels <= INT32_MAX && out_size() * vector <= INT32_MAX,
               "pool: a {}x{} image of {} channels is too large", s.height, s.width, s.channels);
  }
  __host__ __device__ int64_t in_size() const { return int64_t{height} * width * channels; }
  __host__ __device__ int64_t out_size() const { return int64_t{out_height} * out_width * channels; }
};

struct Place {
  int32_t row, column, channel;
};

__device__ Place place_of(int32_t element, const FastDivide& by_channels, const FastDivide& by_columns) {
  int32_t channel = element;
  int32_t column = by_channels.reduce(channel);
  const int32_t row = by_columns.reduce(column);
  return {row, column, channel};
}

// Calls visit(tap, source in the sample) for the taps of an output's window that lie inside the image.
template <class Visit>
__device__ void over_window(const Sample& s, const Place& output, const Visit& visit) {
  const int32_t row0 = output.row * s.stride - s.padding, column0 = output.column * s.stride - s.padding;
  const int32_t last_row = min(s.kernel, s.height - row0), last_column = min(s.kernel, s.width - column0);
  for (int32_t r = max(0, -row0); r < last_row; ++r)
    for (int32_t q = max(0, -column0); q < last_column; ++q)
      visit(r * s.kernel + q, ((row0 + r) * s.width + column0 + q) * s.channels + output.channel);
}

// Calls visit(tap, output in the sample) for the windows that contain an input, in the order of the outputs.
template <class Visit>
__device__ void over_windows_of(const Sample& s, const Place& input, const Visit& visit) {
  const auto first = [&](int32_t place) {
    // ceil((place + padding - kernel + 1) / stride)
    int32_t numerator = max(0, place + s.padding - s.kernel + s.stride);
    return s.by_stride.reduce(numerator);
  };
  const auto last = [&](int32_t place, int32_t outputs) {
    int32_t padded = place + s.padding;
    return min(s.by_stride.reduce(padded), outputs - 1);
  };
  for (int32_t i = first(input.row); i <= last(input.row, s.out_height); ++i)
    for (int32_t j = first(input.column); j <= last(input.column, s.out_width); ++j) {
      const int32_t r = input.row + s.padding - i * s.stride, q = input.column + s.padding - j * s.stride;
      visit(r * s.kernel + q, (i * s.out_width + j) * s.channels + input.channel);
    }
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    max_pool_forward_kernel(int64_t batch, Sample s, const T* x, T* y, uint8_t* index) {
  sample_stride(batch, static_cast<int32_t>(s.out_size()), [&](int64_t n, int32_t i) {
    FloatVector<vector> best{};
    Vector<uint8_t, vector> where{};
    bool first = true;
    over_window(s, place_of(i, s.by_channels, s.by_out_width), [&](int32_t tap, int32_t source) {
      const auto values = load_elements<vector>(x + (n * s.in_size() + source) * vector);
      for (int v = 0; v < vector; ++v) {
        const float value = values[v];
        if (!first && !(value > best[v] || value != value)) continue;  // NaN wins, so that it propagates
        best[v] = value;
        where[v] = static_cast<uint8_t>(tap);
      }
      first = false;
    });
    store_elements(y + (n * s.out_size() + i) * vector, best);
    if (index) store_vector(index + (n * s.out_size() + i) * vector, where);
  });
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    max_pool_backward_kernel(int64_t batch, Sample s, const uint8_t* index, const T* grad_y, T* grad_x) {
  sample_stride(batch, static_cast<int32_t>(s.in_size()), [&](int64_t n, int32_t i) {
    FloatVector<vector> sum{};
    over_windows_of(s, place_of(i, s.by_channels, s.by_width), [&](int32_t tap, int32_t output) {
      const int64_t from = (n * s.out_size() + output) * vector;
      const auto where = load_vector<vector>(index + from);
      const auto grads = load_elements<vector>(grad_y + from);
      for (int v = 0; v < vector; ++v)
        if (where[v] == tap) sum[v] += grads[v];
    });
    store_elements(grad_x + (n * s.in_size() + i) * vector, sum);
  });
}

__global__ void __launch_bounds__(block_threads)
    max_pool_tangent_kernel(int64_t batch, Sample s, const uint8_t* index, const float* x_tangent, float* y_tangent) {
  sample_stride(batch, static_cast<int32_t>(s.out_size()), [&](int64_t n, int32_t i) {
    const Place place = place_of(i, s.by_channels, s.by_out_width);
    const int32_t tap = index[n * s.out_size() + i];
    const int32_t row = place.row * s.stride - s.padding + tap / s.kernel,
                  column = place.column * s.stride - s.padding + tap % s.kernel;
    const int32_t source = (row * s.width + column) * s.channels + place.channel;
    y_tangent[n * s.out_size() + i] = x_tangent[n * s.in_size() + source];
  });
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    average_pool_forward_kernel(int64_t batch, Sample s, float scale, const T* x, T* y) {
  sample_stride(batch, static_cast<int32_t>(s.out_size()), [&](int64_t n, int32_t i) {
    FloatVector<vector> sum{};
    over_window(s, place_of(i, s.by_channels, s.by_out_width), [&](int32_t, int32_t source) {
      const auto values = load_elements<vector>(x + (n * s.in_size() + source) * vector);
      for (int v = 0; v < vector; ++v) sum[v] += values[v];
    });
    for (int v = 0; v < vector; ++v) sum[v] = scale * sum[v];
    store_elements(y + (n * s.out_size() + i) * vector, sum);
  });
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    average_pool_backward_kernel(int64_t batch, Sample s, float scale, const T* grad_y, T* grad_x) {
  sample_stride(batch, static_cast<int32_t>(s.in_size()), [&](int64_t n, int32_t i) {
    FloatVector<vector> sum{};
    over_windows_of(s, place_of(i, s.by_channels, s.by_width), [&](int32_t, int32_t output) {
      const auto grads = load_elements<vector>(grad_y + (n * s.out_size() + output) * vector);
      for (int v = 0; v < vector; ++v) sum[v] += scale * grads[v];
    });
    store_elements(grad_x + (n * s.in_size() + i) * vector, sum);
  });
}

// y[n,c]: one thread sums the positions of `vector` channels of one sample. `channels` counts vectors.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    global_average_pool_forward_kernel(int64_t batch, int64_t positions, int64_t channels, const T* x, float* y) {
  grid_stride(batch * channels, [&](int64_t i) {
    const T* from = x + (i / channels * positions * channels + i % channels) * vector;
    FloatVector<vector> sum{};
#pragma unroll 4
    for (int64_t t = 0; t < positions; ++t) {
      const auto values = load_elements<vector>(from + t * channels * vector);
      for (int v = 0; v < vector; ++v) sum[v] += values[v];
    }
    for (int v = 0; v < vector; ++v) y[i * vector + v] = sum[v] / static_cast<float>(positions);
  });
}

template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    global_average_pool_backward_kernel(int64_t batch, int64_t positions, int64_t channels, const float* grad_y,
                                        T* grad_x) {
  grid_stride(batch * channels, [&](int64_t i) {
    T* to = grad_x + (i / channels * positions * channels + i % channels) * vector;
    FloatVector<vector> share;
    for (int v = 0; v < vector; ++v) share[v] = grad_y[i * vector + v] / static_cast<float>(positions);
    for (int64_t t = 0; t < positions; ++t) store_elements(to + t * channels * vector, share);
  });
}

// One thread per vector of the outputs (forward) or inputs (backward) of every sample.
template <class Kernel, class... Arguments>
void launch_pool(Queue& queue, Kernel kernel, const PoolShape& shape, int64_t size, const Arguments&... arguments) {
  const unsigned blocks = grid_size(size);
  launch(queue, kernel, dim3(blocks, sample_grid(shape.batch, blocks)), block_threads, 0, shape.batch, arguments...);
}

float window_scale(const PoolShape& shape) { return 1.0f / static_cast<float>(shape.kernel * shape.kernel); }

// Calls body(width) with the channels that a thread processes at a time in arrays of T.
template <class T, class Body>
void with_channels(int64_t channels, const Body& body, const auto*... arrays) {
  constexpr int width = vector_width<T>;
  with_width<width>(channels % width == 0 && aligned_elements<width>(arrays...), body);
}

// The type of the values or gradients of an op.
template <class Body>
void with_values(const char* op, DType type, const Body& body) {
  with_stored_types(op, type, [&]<class Types>(Types) { body(typename Types::Value()); });
}
template <class Body>
void with_gradients(const char* op, DType type, const Body& body) {
  with_stored_types(op, type, [&]<class Types>(Types) { body(typename Types::Gradient()); });
}

}  // namespace

void max_pool_forward(Queue& queue, const PoolShape& shape, ConstValues x, Values y, uint8_t* index) {
  check(shape);
  if (shape.batch == 0) return;
  with_values("max_pool_forward", x.type, [&]<class T>(T) {
    const T* const from = array_of<T>("max_pool_forward", x);
    T* const to = array_of<T>("max_pool_forward", y);
    with_channels<T>(
        shape.channels,
        [&](auto vector) {
          const Sample s(shape, vector);
          launch_pool(queue, max_pool_forward_kernel<vector, T>, shape, s.out_size(), s, from, to, index);
        },
        from, to, index);
  });
}

void max_pool_backward(Queue& queue, const PoolShape& shape, const uint8_t* index, ConstValues grad_y, Values grad_x) {
  check(shape);
  if (shape.batch == 0) return;
  with_gradients("max_pool_backward", grad_y.type, [&]<class T>(T) {
    const T* const from = array_of<T>("max_pool_backward", grad_y);
    T* const to = array_of<T>("max_pool_backward", grad_x);
    with_channels<T>(
        shape.channels,
        [&](auto vector) {
          const Sample s(shape, vector);
          launch_pool(queue, max_pool_backward_kernel<vector, T>, shape, s.in_size(), s, index, from, to);
        },
        from, to, index);
  });
}

void max_pool_tangent(Queue& queue, const PoolShape& shape, const uint8_t* index, const float* x_tangent,
                      float* y_tangent) {
  check(shape);
  if (shape.batch == 0) return;
  const Sample s(shape);
  launch_pool(queue, max_pool_tangent_kernel, shape, s.out_size(), s, index, x_tangent, y_tangent);
}

void average_pool_forward(Queue& queue, const PoolShape& shape, ConstValues x, Values y) {
  check(shape);
  if (shape.batch == 0) return;
  with_values("average_pool_forward", x.type, [&]<class T>(T) {
    const T* const from = array_of<T>("average_pool_forward", x);
    T* const to = array_of<T>("average_pool_forward", y);
    with_channels<T>(
        shape.channels,
        [&](auto vector) {
          const Sample s(shape, vector);
          launch_pool(queue, average_pool_forward_kernel<vector, T>, shape, s.out_size(), s, window_scale(shape), from,
                      to);
        },
        from, to);
  });
}

void average_pool_backward(Queue& queue, const PoolShape& shape, ConstValues grad_y, Values grad_x) {
  check(shape);
  if (shape.batch == 0) return;
  with_gradients("average_pool_backward", grad_y.type, [&]<class T>(T) {
    const T* const from = array_of<T>("average_pool_backward", grad_y);
    T* const to = array_of<T>("average_pool_backward", grad_x);
    with_channels<T>(
        shape.channels,
        [&](auto vector) {
          const Sample s(shape, vector);
          launch_pool(queue, average_pool_backward_kernel<vector, T>, shape, s.in_size(), s, window_scale(shape), from,
                      to);
        },
        from, to);
  });
}

void global_average_pool_forward(Queue& queue, int64_t batch, int64_t positions, int64_t channels, ConstValues x,
                                 float* y) {
  if (batch == 0 || channels == 0) return;
  NSGD_CHECK(positions > 0, "global average pool: {} positions have no mean", positions);
  with_values("global_average_pool_forward", x.type, [&]<class T>(T) {
    const T* const from = array_of<T>("global_average_pool_forward", x);
    with_channels<T>(
        channels,
        [&](auto vector) {
          launch(queue, global_average_pool_forward_kernel<vector, T>, grid_size(batch * channels / vector),
                 block_threads, 0, batch, positions, channels / vector, from, y);
        },
        from);
  });
}

void global_average_pool_backward(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* grad_y,
                                  Values grad_x) {
  if (batch == 0 || channels == 0) return;
  NSGD_CHECK(positions > 0, "global average pool: {} positions have no mean", positions);
  with_gradients("global_average_pool_backward", grad_x.type, [&]<class T>(T) {
    T* const to = array_of<T>("global_average_pool_backward", grad_x);
    with_channels<T>(
        channels,
        [&](auto vector) {
          launch(queue, global_average_pool_backward_kernel<vector, T>, grid_size(batch * channels / vector),
                 block_threads, 0, batch, positions, channels / vector, grad_y, to);
        },
        to);
  });
}

}  // namespace noisysgd::kernels::cuda
