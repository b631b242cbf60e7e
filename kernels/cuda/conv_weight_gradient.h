// The kernels behind the weight gradient of a convolution and its second moment, and which of them takes which shape.
// All but the matrix product write partial sums, one per share of the samples, which a last kernel adds in order.
#pragma once

#include <noisysgd/kernels/conv_second_moment.h>

namespace noisysgd::kernels::cuda {

enum class ConvRoute {
  matrix_product,  // one output position, or a 1x1 kernel without squares of sums: cuBLAS
  window,          // conv_window.h: 3x3, padding 1, images of 32, 16, 8 or 4 positions, channels in whole tiles
  pairs,           // conv_pairs.cu: the same on images of 2x2
  gather,          // conv_gather.cu: tensor cores, any shape
  tiles,           // conv_tiles.cu: single precision, any shape
};
// shared_memory: of the device (CudaState::shared_memory); the window kernel's tilings differ in what they need.
ConvRoute conv_route(const ConvShape& shape, SecondMoment kind, Precision precision, size_t shared_memory);

// A kernel on one kind of shape. partial [shares,sums,K,R,S,C]: per share of the samples sum_n G_n and, unless its kind
// is `none`, the second moment.
struct ConvKernel {
  int64_t (*shares)(const ConvShape& shape);
  void (*launch)(Queue& queue, const ConvShape& shape, SecondMoment kind, const float* x, const float* grad_y,
                 float* partial);
  // With sum_n signs[n,k] G_n in the second moment's place; null where a kernel has none and needs another pass over a
  // signed grad_y.
  void (*launch_signed)(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, const float* signs,
                        float* partial) = nullptr;
};

// Each answers null where it takes nothing. window and pairs copy 16 bytes at a time: x and grad_y must be aligned so.
const ConvKernel* conv_window(const ConvShape& shape, SecondMoment kind, Precision precision, size_t shared_memory);
const ConvKernel* conv_pairs(const ConvShape& shape, Precision precision);
const ConvKernel* conv_gather(const ConvShape& shape, Precision precision);
const ConvKernel& conv_tiles(const ConvShape& shape);
// conv_tiles with the squares of G_n - C_n, which the other kernels do not have; the same shares.
void conv_tiles_centered(Queue& queue, const ConvShape& shape, const SampleSums& sums, const float* x,
                         const float* grad_y, float* partial);

}  // namespace noisysgd::kernels::cuda
