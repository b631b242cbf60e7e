#include <noisysgd/kernels/batch_norm.h>

#include <noisysgd/kernels/batch_norm_parts.h>
#include <noisysgd/kernels/cuda/batch_norm_tile.h>

namespace noisysgd::kernels::cuda {
namespace {

// BatchNormEpilogue with elements of T.
template <class T>
struct Epilogue {
  const T* addend;
  bool relu;
};

// Writes y at `vector` elements from i on. NaN stays NaN.
template <int vector, class T>
__device__ void write_normalised(const Affines<vector>& affines, const Epilogue<T>& epilogue, const T* x, T* y,
                                 int64_t i) {
  const auto inputs = load_elements<vector>(x + i);
  Elements<T, vector> addend{};
  if (epilogue.addend) addend = load_elements<vector>(epilogue.addend + i);
  FloatVector<vector> values;
  for (int v = 0; v < vector; ++v) {
    float value = affines.channel[v](inputs[v]);
    if (epilogue.addend) value += addend[v];
    values[v] = epilogue.relu && value < 0 ? 0.0f : value;
  }
  store_elements(y + i, values);
}

// Second grid dimension: groups.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(int64_t groups, int64_t rows, int64_t channels, const T* x, const float* gamma, const float* beta,
                     const float* mean, const float* inverse_std, Epilogue<T> epilogue, T* y) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels / vector,
        [&](int64_t column) {
          Affines<vector> affines;
          for (int v = 0; v < vector; ++v) {
            const int64_t c = column * vector + v;
            affines.channel[v] = affine_of(gamma, beta, mean, inverse_std, c, group * channels + c);
          }
          return affines;
        },
        [&](int64_t i, const Affines<vector>& affines) {
          write_normalised(affines, epilogue, x, y, origin + i * vector);
        });
  }
}

template <int vector>
__global__ void __launch_bounds__(block_threads)
    normalise_running_kernel(int64_t rows, int64_t channels, float epsilon, const float* x, const float* gamma,
                             const float* beta, const float* running_mean, const float* running_variance,
                             Epilogue<float> epilogue, float* y) {
  channel_stride(
      rows, channels / vector,
      [&](int64_t column) {
        Affines<vector> affines;
        for (int v = 0; v < vector; ++v) {
          const int64_t c = column * vector + v;
          const double deviation = sqrt(double{running_variance[c]} + epsilon);
          affines.channel[v] = {running_mean[c], static_cast<float>(gamma[c] / deviation), beta[c]};
        }
        return affines;
      },
      [&](int64_t i, const Affines<vector>& affines) { write_normalised(affines, epilogue, x, y, i * vector); });
}

template <class T>
void normalise(Queue& queue, const BatchNormShape& shape, const BatchNormNormalised& arrays, const T* x, T* y) {
  constexpr int width = vector_width<T>;
  const Epilogue<T> epilogue{array_of<T>("batch_norm_normalised", arrays.epilogue.addend), arrays.epilogue.relu};
  with_width<width>(shape.channels % width == 0 && aligned_elements<width>(x, epilogue.addend, y), [&](auto v) {
    launch(queue, normalise_kernel<v, T>, group_channel_grid(shape, v), block_threads, 0, shape.groups(),
           shape.group * shape.positions, shape.channels, x, arrays.gamma, arrays.beta, arrays.mean, arrays.inverse_std,
           epilogue, y);
  });
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, ConstValues x,
                        Values y) {
  batch_norm_statistics(queue, shape, statistics_of(arrays), x);
  batch_norm_normalised(queue, shape, normalised_of(arrays), x, y);
}

void batch_norm_inference(Queue& queue, const BatchNormInference& arrays, const float* x, float* y) {
  const int64_t rows = arrays.rows, channels = arrays.channels;
  if (rows == 0 || channels == 0) return;
  const Epilogue<float> epilogue{arrays.epilogue.addend.f32("batch_norm_inference"), arrays.epilogue.relu};
  constexpr int width = vector_width<float>;
  with_width<width>(channels % width == 0 && aligned_elements<width>(x, epilogue.addend, y), [&](auto v) {
    launch(queue, normalise_running_kernel<v>, channel_grid(rows, channels / v), block_threads, 0, rows, channels,
           arrays.epsilon, x, arrays.gamma, arrays.beta, arrays.running_mean, arrays.running_variance, epilogue, y);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const BatchNormNormalised& arrays, ConstValues x,
                           Values y) {
  check(shape);
  if (shape.samples == 0) return;
  with_stored_types("batch_norm_normalised", x.type, [&]<class Types>(Types) {
    using T = typename Types::Value;
    normalise(queue, shape, arrays, array_of<T>("batch_norm_normalised", x), array_of<T>("batch_norm_normalised", y));
  });
}

}  // namespace noisysgd::kernels::cuda
