// The weight gradient of 3x3 convolutions of stride 1 and padding 1, and optionally its exact second moment, from
// operands in bf16 by the asynchronous products of compute capability 9.0 (ptx.h).
#pragma once

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/weight_tiles.h>

namespace noisysgd::kernels::cuda {

struct WgmmaKernel {
  // As many shares of the samples as keep the device busy, at most one for each item of the pipeline.
  ShareGrid (*grid)(const ConvShape& shape);
  // Adds sum_n G_n and, if kind is `exact`, sum_n G_n^2 to `to`. x and grad_y are in bf16 and 16-byte aligned.
  void (*launch)(Queue& queue, const ConvShape& shape, SecondMoment kind, int64_t shares, const uint16_t* x,
                 const uint16_t* grad_y, const WeightSums& to);
};

// Null for shapes that it does not support. It takes images of 32x32, 16x16, 8x8 and 4x4, multiples of 32 input and of
// 64 output channels, and no spatial second moment.
const WgmmaKernel* conv_wgmma_bf16(const ConvShape& shape, SecondMoment kind);

}  // namespace noisysgd::kernels::cuda
