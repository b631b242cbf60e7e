#include <noisysgd/kernels/conv_operand.h>

#include <type_traits>

#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int width = 8;  // channels that a thread makes at a time, if their number and the addresses allow it

// Vectors of `vector` channels: in the array, in a ghost group of it, and at a position.
struct Vectors {
  int64_t all, group, position;
};

template <int vector, class From, class To>
__global__ void __launch_bounds__(block_threads)
    conv_operand_kernel(Vectors n, const From* x, const float* factor, const float* term, To* h) {
  grid_stride(n.all, [&](int64_t i) {
    const int64_t constant = (i / n.group * n.position + i % n.position) * vector;
    FloatVector<vector> values = load_values<vector>(x + i * vector);
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float value = fmaf(values[v], factor[constant + v], term[constant + v]);
      values[v] = value <= 0 ? 0.0f : value;
      if constexpr (std::is_same_v<From, Half>) values[v] = as_float(as_stored<Half>(values[v]));
    }
    store_values(h + i * vector, values);
  });
}

template <class From, class To>
void make(Queue& queue, const ConvShape& shape, const ConvOperand& operand, Values values) {
  const From* const x = array_of<From>("make_conv_operand", operand.x);
  To* const h = array_of<To>("make_conv_operand", values);
  with_width<width>(shape.in_channels % width == 0 && aligned(x) && aligned(h), [&](auto vector) {
    const int64_t position = shape.in_channels / vector, sample = shape.height * shape.width * position;
    const Vectors n{shape.batch * sample, operand.group * sample, position};
    launch(queue, conv_operand_kernel<vector, From, To>, grid_size(n.all), block_threads, 0, n, x, operand.factor,
           operand.term, h);
  });
}

}  // namespace

void make_conv_operand(Queue& queue, const ConvShape& shape, const ConvOperand& operand, Values h) {
  check(shape, operand);
  NSGD_CHECK(operand.factor, "make_conv_operand: the operand has no factor");
  if (shape.batch == 0) return;
  if (h.type == DType::f16) return make<Half, Half>(queue, shape, operand, h);
  operand.x.type == DType::f16 ? make<Half, float>(queue, shape, operand, h)
                               : make<float, float>(queue, shape, operand, h);
}

}  // namespace noisysgd::kernels::cuda
