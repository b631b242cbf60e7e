// Convolutions of few channels are computed by kernels/cuda/conv_narrow.h, others by cuDNN if it is available and has a
// plan (kernels/cuda/cudnn_conv.h), weight gradients by cuDNN or by kernels/conv_second_moment.cu, whichever is faster,
// and the rest here as implicit matrix products in shared-memory tiles, for any
// kernel, stride, padding and channel count. A product has rows (positions of the result), columns (its channels) and
// depth (taps); no patch matrix is stored.
#include <noisysgd/kernels/conv.h>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/conv_narrow.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/cudnn_conv.h>
#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/widened.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int tile = 64, depth_step = 16, micro = 4;  // a block's tile, of which a thread computes 4x4
constexpr int tile_pitch = tile + 4;                  // keeps float4 aligned and avoids bank conflicts
static_assert((tile / micro) * (tile / micro) == block_threads);

// The position, in one sample, of a row of the product.
struct Position {
  int64_t sample;
  int32_t row, column;  // row < 0: beyond the last sample
};

__device__ Position position_of(int64_t number, int64_t batch, int32_t positions, const FastDivide& by_columns) {
  const int64_t sample = number / positions;
  auto column = static_cast<int32_t>(number % positions);
  const int32_t row = by_columns.reduce(column);
  return {sample, sample < batch ? row : -1, column};
}

// y = patches(x) w^T: depth runs over taps (r,s,c).
template <class T>
struct Forward {
  using Element = T;  // of the operand with positions and of the result
  ConvGeometry g;
  const T* x;
  const float *weight, *bias;
  bool relu;

  __device__ int64_t rows() const { return g.batch * g.out_positions(); }
  __device__ int32_t columns() const { return g.out_channels; }
  __device__ int32_t depth() const { return g.taps(); }
  __device__ Position position(int64_t row) const {
    return position_of(row, g.batch, g.out_positions(), g.by_out_width);
  }
  __device__ Tap tap(int32_t k) const { return tap_of(k, g.by_in_channels, g.by_kernel_width); }
  __device__ float left(const Position& p, const Tap& t) const {
    const int32_t h = p.row * g.stride_height - g.padding_height + t.row;
    const int32_t w = p.column * g.stride_width - g.padding_width + t.column;
    const bool inside = p.row >= 0 && h >= 0 && h < g.height && w >= 0 && w < g.width;
    return inside ? as_float(x[p.sample * g.in_size() + (h * g.width + w) * g.in_channels + t.channel]) : 0.0f;
  }
  __device__ float right(int32_t k, const Tap&, int32_t column) const { return weight[column * g.taps() + k]; }
  __device__ float start(int32_t column) const { return bias ? bias[column] : 0.0f; }
  __device__ float finish(float sum) const { return relu && sum < 0 ? 0.0f : sum; }
};

// grad_x = patches'(grad_y) w: depth runs over (r,s,k). A tap reaches an output only if the stride divides
// row + padding - r, and likewise for the columns.
template <class T>
struct BackwardData {
  using Element = T;
  ConvGeometry g;
  const T* grad_y;
  const float* weight;

  __device__ int64_t rows() const { return g.batch * g.in_positions(); }
  __device__ int32_t columns() const { return g.in_channels; }
  __device__ int32_t depth() const { return g.kernel_height * g.kernel_width * g.out_channels; }
  __device__ Position position(int64_t row) const { return position_of(row, g.batch, g.in_positions(), g.by_width); }
  __device__ Tap tap(int32_t k) const { return tap_of(k, g.by_out_channels, g.by_kernel_width); }
  __device__ float left(const Position& p, const Tap& t) const {
    int32_t h = p.row + g.padding_height - t.row, w = p.column + g.padding_width - t.column;
    if (p.row < 0 || h < 0 || w < 0) return 0.0f;
    const int32_t i = g.by_stride_height.reduce(h), j = g.by_stride_width.reduce(w);
    const bool inside = h == 0 && w == 0 && i < g.out_height && j < g.out_width;
    return inside ? as_float(grad_y[p.sample * g.out_size() + (i * g.out_width + j) * g.out_channels + t.channel])
                  : 0.0f;
  }
  __device__ float right(int32_t, const Tap& t, int32_t column) const {
    return weight[((t.channel * g.kernel_height + t.row) * g.kernel_width + t.column) * g.in_channels + column];
  }
  __device__ float start(int32_t) const { return 0.0f; }
  __device__ float finish(float sum) const { return sum; }
};

// Grid: tiles of columns, tiles of rows.
template <class Product>
__global__ void __launch_bounds__(block_threads)
    conv_product_kernel(const __grid_constant__ Product product, typename Product::Element* result) {
  GPU_SHARED(float, left, [depth_step][tile_pitch]);
  GPU_SHARED(float, right, [depth_step][tile_pitch]);
  constexpr int loads = tile * depth_step / block_threads;  // per thread and operand
  const int thread = static_cast<int>(threadIdx.x), load_k = thread % depth_step, load_i = thread / depth_step;
  const int row = thread / (tile / micro) * micro, column = thread % (tile / micro) * micro;
  const int32_t column0 = static_cast<int32_t>(blockIdx.x) * tile;
  for (int64_t row0 = int64_t{blockIdx.y} * tile; row0 < product.rows(); row0 += int64_t{gridDim.y} * tile) {
    Position positions[loads];
    for (int i = 0; i < loads; ++i) positions[i] = product.position(row0 + load_i + i * (tile / loads));
    float sum[micro][micro];
    for (int j = 0; j < micro; ++j) {
      const float start = column0 + column + j < product.columns() ? product.start(column0 + column + j) : 0.0f;
      for (int i = 0; i < micro; ++i) sum[i][j] = start;
    }
    for (int32_t k0 = 0; k0 < product.depth(); k0 += depth_step) {
      const int32_t k = k0 + load_k;
      const bool in_depth = k < product.depth();
      const Tap tap = product.tap(in_depth ? k : 0);
      for (int i = 0; i < loads; ++i) {
        const int place = load_i + i * (tile / loads);
        left[load_k][place] = in_depth ? product.left(positions[i], tap) : 0.0f;
        right[load_k][place] =
            in_depth && column0 + place < product.columns() ? product.right(k, tap, column0 + place) : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int step = 0; step < depth_step; ++step) {
        const float4 l = *reinterpret_cast<const float4*>(&left[step][row]);
        const float4 r = *reinterpret_cast<const float4*>(&right[step][column]);
        const float ls[micro] = {l.x, l.y, l.z, l.w}, rs[micro] = {r.x, r.y, r.z, r.w};
        for (int i = 0; i < micro; ++i)
          for (int j = 0; j < micro; ++j) sum[i][j] += ls[i] * rs[j];
      }
      __syncthreads();
    }
    for (int i = 0; i < micro; ++i)
      for (int j = 0; j < micro; ++j)
        if (row0 + row + i < product.rows() && column0 + column + j < product.columns())
          result[(row0 + row + i) * product.columns() + column0 + column + j] =
              as_stored<typename Product::Element>(product.finish(sum[i][j]));
  }
}

template <class Product>
void launch_product(Queue& queue, const Product& product, int64_t rows, int64_t columns,
                    typename Product::Element* result) {
  const int64_t column_tiles = divide_up(columns, tile);
  const dim3 grid(static_cast<unsigned>(column_tiles), sample_grid(divide_up(rows, tile), 1));
  launch(queue, conv_product_kernel<Product>, grid, block_threads, 0, product, result);
}

// Values of 16 bits by the fused convolution, with nothing fused.
bool by_block(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight, Values y) {
  const ConvBlockShape block{shape, shape.batch};
  if (x.type != DType::f16 || y.type != DType::f16 || !aligned(x.address) || !aligned(y.address) || !aligned(weight) ||
      !conv_block_takes(queue, block))
    return false;
  conv_block_forward(queue, block, {x}, weight, {}, y);
  return true;
}

bool by_cudnn(Queue& queue, cudnn::Operation operation, const ConvShape& shape, ConstValues x, const float* w,
              ConstValues y, const cudnn::Convolutions::OwnKernel& own = {}) {
  cudnn::Convolutions* const cudnn = queue.cuda().cudnn(queue);
  return cudnn && cudnn->convolve(queue, operation, shape, x, w, y, own);
}

}  // namespace

void conv_forward(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight,
                  const BiasEpilogue& epilogue, Values y) {
  check(shape);
  if (shape.batch == 0) return;
  if (narrow_forward(queue, shape, x, weight, y) || by_block(queue, shape, x, weight, y) ||
      by_cudnn(queue, cudnn::Operation::forward, shape, x, weight, y)) {
    bias_add(queue, shape.batch * shape.positions(), shape.out_channels, epilogue, y);
    return;
  }
  with_stored_types("conv_forward", x.type, [&]<class Types>(Types) {
    using T = typename Types::Value;
    launch_product(
        queue, Forward<T>{ConvGeometry(shape), array_of<T>("conv_forward", x), weight, epilogue.bias, epilogue.relu},
        shape.batch * shape.positions(), shape.out_channels, array_of<T>("conv_forward", y));
  });
}

void conv_backward_data(Queue& queue, const ConvShape& shape, const float* weight, ConstValues grad_y, Values grad_x) {
  check(shape);
  if (shape.batch == 0 || narrow_backward_data(queue, shape, weight, grad_y, grad_x)) return;
  if (by_cudnn(queue, cudnn::Operation::backward_data, shape, grad_x, weight, grad_y)) return;
  with_stored_types("conv_backward_data", grad_y.type, [&]<class Types>(Types) {
    using T = typename Types::Gradient;
    launch_product(queue, BackwardData<T>{ConvGeometry(shape), array_of<T>("conv_backward_data", grad_y), weight},
                   shape.batch * shape.height * shape.width, shape.in_channels,
                   array_of<T>("conv_backward_data", grad_x));
  });
}

void conv_backward_weight(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                          float* grad_weight) {
  check(shape, x);
  if (shape.batch == 0) return;
  Scratch scratch(queue);
  const auto [stored_x, stored_grad_y] = weight_operands(queue, scratch, shape, x, grad_y);
  const auto own = [&, operand = stored_x, grad = stored_grad_y](float* sum) {
    cuda::conv_sample_sums(queue, shape, operand, grad, {}, sum);
  };
  // cuDNN reads copies in fp32. The window kernel of 16-bit arrays, which alone takes an x with a factor, has no rival.
  const bool window = is_half(stored_x.x.type) && conv_window_halves(shape, queue.cuda().shared_memory());
  if (window || !by_cudnn(queue, cudnn::Operation::backward_filter, shape, stored_x.x, grad_weight, stored_grad_y, own))
    own(grad_weight);
}

bool conv_backward_weight_cudnn(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                float* grad_weight) {
  check(shape);
  return shape.batch > 0 && by_cudnn(queue, cudnn::Operation::backward_filter, shape, x, grad_weight, grad_y);
}

}  // namespace noisysgd::kernels::cuda
