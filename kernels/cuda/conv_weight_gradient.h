// The kernels of the weight gradient of a convolution and its second moment, and the choice between them by shape. All
// but the matrix product write partial sums, one per share of the samples, and merge them in order (merge_shares.h).
#pragma once

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/weight_tiles.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {

enum class ConvRoute {
  matrix_product,  // one output position, or a 1x1 kernel without squares of sums: cuBLAS
  wgmma,           // conv_wgmma.cu: asynchronous products; 3x3, stride 1, padding 1, from 64 output channels on
  window,          // conv_window.h: 3x3, padding 1, outputs of 32x32, 16x16, 8x8 or 4x4, channels in whole tiles
  pairs,           // conv_pairs.cu: the same on images of 2x2
  gather,          // conv_gather.cu: tensor cores, any shape
  tiles,           // conv_tiles.cu: single precision, any shape
};
// shared_memory: bytes per block on the device (CudaState::shared_memory); the window kernel's tilings need different
// amounts. wgmma: whether asynchronous products may be used (CudaState::wgmma).
ConvRoute conv_route(const ConvShape& shape, SecondMoment kind, Precision precision, size_t shared_memory,
                     bool wgmma = false);

// A kernel for some shapes. It adds sum_n G_n and, unless kind is `none`, the second moment to `to`.
struct ConvKernel {
  ShareGrid (*grid)(const ConvShape& shape);
  void (*launch)(Queue& queue, const ConvShape& shape, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                 const WeightSums& to);
  // Computes sum_n signs[n,k] G_n instead of the second moment. Null if the kernel cannot; the sum then needs another
  // pass over grad_y times the signs.
  void (*launch_signed)(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                        const float* signs, const WeightSums& to) = nullptr;
};

// Each returns null for shapes that it does not support. window and pairs copy 16 bytes at a time: x and grad_y must be
// 16-byte aligned. All read arrays of fp32. conv_gather also reads a grad_y of bf16 with an x of fp32 or fp16, and
// conv_pairs, unless it is for fp32, one with an x of fp16; sums have the bits of those of widened copies.
// conv_window_halves reads x of fp16 and grad_y of bf16 alone. conv_wgmma reads these or fp32; it rounds fp32 and fp16
// to bf16. conv_window_halves alone makes x of other arrays (ConvOperand), if the addresses of their constants are
// multiples of 16 bytes.
const ConvKernel* conv_wgmma(const ConvShape& shape, SecondMoment kind, Precision precision);
const ConvKernel* conv_window(const ConvShape& shape, SecondMoment kind, Precision precision, size_t shared_memory);
const ConvKernel* conv_window_halves(const ConvShape& shape, size_t shared_memory);
const ConvKernel* conv_pairs(const ConvShape& shape, Precision precision);
const ConvKernel* conv_gather(const ConvShape& shape, Precision precision);
// The bytes of an array of so many channels that conv_gather copies at a time, 16, 8 or 4. 0 if it cannot read it: an
// odd number of channels, or an odd element to begin with, of 16 bits.
int conv_gather_bytes(int64_t channels, ConstValues array);
const ConvKernel& conv_tiles(const ConvShape& shape);
// conv_tiles with the squares of G_n - C_n, which the other kernels do not support.
void conv_tiles_centered(Queue& queue, const ConvShape& shape, const SampleSums& sums, const float* x,
                         const float* grad_y, const WeightSums& to);

// The arrays as the weight-gradient kernels read them: those stored in 16 bits are widened in `scratch`, unless the
// kernel for the shape reads them, and an x that is made of others is made there, unless it is conv_window_halves that
// reads it. centered: for conv_tiles_centered.
struct WeightOperands {
  ConvOperand x;
  ConstValues grad_y;
};
WeightOperands weight_operands(Queue& queue, Scratch& scratch, const ConvShape& shape, const ConvOperand& x,
                               ConstValues grad_y, bool centered = false);

}  // namespace noisysgd::kernels::cuda
