// Max and average pooling, NHWC. Average pooling divides by the whole window, padding included (PyTorch's default). On
// a CUDA device x and y may be stored in fp16 and their gradients in bf16.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct PoolShape {
  int64_t batch, height, width, channels;
  int64_t kernel, stride, padding;  // square windows; padding <= kernel/2

  int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
};

void check(const PoolShape& shape);  // throws Error for a window that does not fit the image

// index: position r*kernel+s of the maximum within its window, the first one on ties, for backward; null in inference.
NSGD_TYPED_OP(max_pool_forward,
              void(Queue& queue, const PoolShape& shape, ConstValues x, Values y, uint8_t* index));  // [N,Ho,Wo,C]
NSGD_TYPED_OP(max_pool_backward, void(Queue& queue, const PoolShape& shape, const uint8_t* index, ConstValues grad_y,
                                      Values grad_x));  // overwritten
// How the maxima change with x: y_tangent [N,Ho,Wo,C] is x_tangent where the windows have their maximum.
NSGD_OP(max_pool_tangent, void(Queue& queue, const PoolShape& shape, const uint8_t* index, const float* x_tangent,
                               float* y_tangent));  // overwritten
NSGD_TYPED_OP(average_pool_forward, void(Queue& queue, const PoolShape& shape, ConstValues x, Values y));
NSGD_TYPED_OP(average_pool_backward,
              void(Queue& queue, const PoolShape& shape, ConstValues grad_y, Values grad_x));  // overwritten
// Mean over all positions: x [N,T,C] -> y [N,C]. y and its gradient are fp32.
NSGD_TYPED_OP(global_average_pool_forward,
              void(Queue& queue, int64_t batch, int64_t positions, int64_t channels, ConstValues x, float* y));
NSGD_TYPED_OP(global_average_pool_backward, void(Queue& queue, int64_t batch, int64_t positions, int64_t channels,
                                                 const float* grad_y, Values grad_x));

}  // namespace noisysgd::kernels
